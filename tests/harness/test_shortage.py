"""A cell that runs out of memory beside others is tried again when they are over, and fails only by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from run_processes import run, write_suite
from torch.nn.functional import cross_entropy

from benchbench.contract import BatchLoss, Offer, hookimpl
from benchbench.errors import OutOfMemoryError
from benchbench.events import CellFailed, CellFinished, Event, Note
from benchbench.harness.shortage import ALONE
from benchbench.records.claims import Claims

TRIED: list[str] = []
SHORT = [0]  # how often the defense still finds too little memory
ERRORS: dict[str, type[Exception]] = {"torch's": torch.OutOfMemoryError, "ours": OutOfMemoryError}


class Hungry:
    """Plain training that at first runs out of memory."""

    def __init__(self, *, error: str = "ours") -> None:
        self._error = error

    def step(self, model, images, labels, *, threat, generator, optimizer):  # takes its own steps: cannot be divided
        TRIED.append("hungry")
        if SHORT[0] > 0:
            SHORT[0] -= 1
            raise ERRORS[self._error]("CUDA out of memory")
        optimizer.zero_grad()
        loss = cross_entropy(model(images), labels, reduction="sum")
        loss.backward()
        optimizer.step()
        return BatchLoss(loss=loss.detach())


class Offers:
    @hookimpl
    def benchbench_defenses(self):
        return [Offer(name="hungry", summary="Needs much", factory=Hungry)]


@pytest.fixture
def heard(tmp_path: Path, plant: Callable[[object], None], monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    TRIED.clear()
    plant(Offers())
    monkeypatch.setattr("benchbench.pricing.cells.price", lambda plan, *_: plan)
    write_suite(tmp_path, defenses=["hungry", "natural"], attacks=["pgd-10"], epochs=1)
    return []


def test_it_is_tried_again_after_all_others(tmp_path: Path, heard: list[Event]) -> None:
    SHORT[0] = 1
    result = run(tmp_path, heard.append)
    assert (result.finished, result.failed) == (2, 0)
    finished = [event.label for event in heard if isinstance(event, CellFinished)]
    assert [" natural" in label for label in finished] == [True, False]
    assert any("out of memory; tried again, alone" in event.message for event in heard if isinstance(event, Note))
    once = tmp_path / "plainly"
    write_suite(once, defenses=["hungry", "natural"], attacks=["pgd-10"], epochs=1)
    assert [row.adv_test_accuracy for row in run(once).rows] == [row.adv_test_accuracy for row in result.rows]


def test_it_fails_where_memory_does_not_suffice_even_then(tmp_path: Path, heard: list[Event]) -> None:
    SHORT[0] = 100
    result = run(tmp_path, heard.append)
    assert (result.finished, result.failed, len(TRIED)) == (1, 1, 2)
    (failure,) = [event for event in heard if isinstance(event, CellFailed)]
    assert "out of memory" in failure.error


def test_it_is_not_tried_again_while_another_process_tries_one(tmp_path: Path, heard: list[Event]) -> None:
    SHORT[0] = 1
    waiting: list[bool] = []
    other = Claims(tmp_path / "runs" / "claims").held(ALONE)

    def let_go(event: Event) -> None:
        heard.append(event)
        if isinstance(event, Note) and event.message.startswith("waiting for other processes"):
            waiting.append(len(TRIED) == 1)
            other.__exit__(None, None, None)

    assert other.__enter__()
    result = run(tmp_path, let_go)
    assert (result.finished, waiting) == (2, [True])
