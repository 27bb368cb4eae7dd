"""Progress: plain lines where there is no terminal, live bars where there is one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from benchbench.cli import display
from benchbench.cli.display import LiveDisplay, PlainDisplay
from benchbench.events import (
    CellFailed,
    CellFinished,
    CellStarted,
    EvaluationProgress,
    Event,
    Note,
    RunFinished,
    RunStarted,
    TrainingProgress,
    TrainingStarted,
    WorkerIdle,
    WorkerProgress,
)
from benchbench.events.wording import describe, format_seconds

STORY: tuple[Event, ...] = (
    RunStarted(
        suite="closer-look",
        profile="quick",
        profile_reason="chosen because the device is cpu; --profile overrides",
        device="cpu (2 threads)",
        total=5,
        ready=2,
        done=2,
        skipped=1,
        estimated_seconds=90.0,
    ),
    Note(message="skipped svhn: [bold]no files[/bold]"),
    CellStarted(number=1, total=2, cell_id="a", label="mnist cnn2 at, pgd-10, seed 0", seconds_left=90.0),
    TrainingStarted(epoch=0, epochs=3, steps=10),
    TrainingProgress(epoch=1, epochs=3, step=5, steps=10, loss=0.25, accuracy=0.875),
    EvaluationProgress(purpose="pgd-10 on test", done=64, total=200),
    CellFinished(cell_id="a", label="mnist cnn2 at, pgd-10, seed 0", seconds=45.0, values={"test_accuracy": 0.9}),
    CellStarted(number=2, total=2, cell_id="b", label="mnist cnn2 trades (beta=6), pgd-10, seed 0", seconds_left=45.0),
    CellFailed(cell_id="b", label="mnist cnn2 trades (beta=6), pgd-10, seed 0", error="out of [memory]"),
    RunFinished(finished=1, failed=1, cached=2, skipped=1, seconds=60.0),
)


def test_plain_lines_tell_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "PLAIN_SECONDS", -1.0)
    lines: list[str] = []
    plain = PlainDisplay(lines.append)
    for event in STORY:
        plain.show(event)
    assert lines == [
        "suite closer-look, profile quick (chosen because the device is cpu; --profile overrides), on cpu (2 threads): "
        "2 cells to compute, 2 done, 1 skipped, about 1 min 30 s",
        "skipped svhn: [bold]no files[/bold]",
        "[1/2] mnist cnn2 at, pgd-10, seed 0, about 1 min 30 s left",
        "  epoch 2/3, step 5/10, loss 0.2500, accuracy 0.875",
        "  pgd-10 on test: 64/200",
        "  done in 45 s: test_accuracy 0.9",
        "[2/2] mnist cnn2 trades (beta=6), pgd-10, seed 0, about 45 s left",
        "  FAILED mnist cnn2 trades (beta=6), pgd-10, seed 0: out of [memory]",
        "1 cell computed, 2 already done, 1 skipped, 1 failed in 1 min 00 s",
    ]


def test_plain_progress_within_a_cell_is_rare() -> None:
    lines: list[str] = []
    plain = PlainDisplay(lines.append)
    for event in STORY:
        plain.show(event)
    assert not any("epoch" in line or "pgd-10 on test" in line for line in lines)


@pytest.mark.parametrize("width", [80, 160])
def test_live_bars_show_cells_epoch_loss_accuracy_and_time_left(width: int) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width)
    with LiveDisplay(console, get_time=lambda: 0.0, auto_refresh=False) as live:
        frames = []
        for event in STORY:
            live.show(event)
            screen.truncate(0)
            screen.seek(0)
            live.refresh()
            frames.append(screen.getvalue())
    training, evaluation = frames[4], frames[5]
    assert "cells" in training
    assert "0/2" in training
    assert "1 min 30 s left" in training
    assert "epoch 2/3 loss 0.250 accuracy 0.875" in " ".join(training.split())
    assert "pgd-10 on test" in evaluation
    assert "64/200" in evaluation
    assert "1/2" in frames[7]


def frames_of(events: list[Event]) -> list[str]:
    """The bars after each event."""
    screen = io.StringIO()
    frames = []
    console = Console(file=screen, force_terminal=True, width=160, color_system=None)
    with LiveDisplay(console, get_time=lambda: 0.0, auto_refresh=False) as live:
        for event in events:
            live.show(event)
            screen.truncate(0)
            screen.seek(0)
            live.refresh()
            frames.append(" ".join(screen.getvalue().split()))
    return frames


def test_each_worker_has_a_bar_that_says_which_cell_it_is_at_and_none_when_it_is_gone() -> None:
    def started(worker: int, number: int) -> WorkerProgress:
        event = CellStarted(number=number, total=9, cell_id=str(number), label="a cell", seconds_left=None)
        return WorkerProgress(worker=worker, event=event)

    def trains(worker: int, step: int) -> WorkerProgress:
        event = TrainingProgress(epoch=0, epochs=1, step=step, steps=77, loss=0.25, accuracy=None)
        return WorkerProgress(worker=worker, event=event)

    events = [STORY[0], started(1, 1), started(2, 2), trains(1, 33), trains(2, 44), WorkerIdle(worker=1, gone=True)]
    frames = frames_of([*events, started(1, 1), trains(1, 55), WorkerIdle(worker=2), WorkerIdle(worker=3, gone=True)])
    assert "worker 1: [1] begins" in frames[1]
    assert "worker 2: [2] begins" in frames[2]
    assert "33/77" in frames[4]
    assert "44/77" in frames[4]
    assert "worker 1" not in frames[5]
    assert "worker 2: [2] training" in frames[5]
    assert "0/1" in frames[6].partition("worker 1: [1] begins")[2]
    assert "55/77" in frames[7]
    assert "worker 2: idle" in frames[8]
    assert frames[9] == frames[8]


def test_live_display_prints_what_stays() -> None:
    screen = io.StringIO()
    with LiveDisplay(Console(file=screen, force_terminal=True, width=200, color_system=None)) as live:
        for event in STORY:
            live.show(event)
    for line in filter(None, map(describe, STORY)):
        assert line in screen.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.99, "10.0 s"),
        (59.7, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.9, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
