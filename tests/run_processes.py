"""Runs in processes of their own, to be killed, stopped or set to work on the same folders; started quickly, by forking."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from forked_processes import CONTEXT

import benchbench
from benchbench.events import CellFinished, CellStarted, Event, TrainingProgress, TrainingStarted
from benchbench.leaderboard.files import read_rows
from benchbench.records import Row

SUITE = """
name = "tiny"
protocol = "tiny-1"
seeds = {seeds}

[[experiments]]
name = "digits"
dataset = {{ name = "digits", scale = 1 }}
architectures = [{{ name = "mlp", hidden = [8] }}]
defenses = {defenses}
attacks = {attacks}
metrics = {metrics}
threat = {{ norm = "linf", epsilon = 0.1 }}
recipe = {{ optimizer = "adam", learning_rate = 0.001, batch_size = 32, epochs = {epochs} }}
n_train = 64
n_train_evaluated = 32
n_test = 32
"""
NOT_COMPARED = {  # how long it took and what memory it took, on which commit: provenance, which differs between equal runs
    "train_seconds": None,
    "evaluate_seconds": None,
    "peak_memory_bytes": None,
    "git_commit": "",
}
START_SECONDS = 120.0
EXHAUSTIVE = bool(
    os.environ.get("BENCHBENCH_EXHAUSTIVE")
)  # minutes of tests that show by number what others show by kind


def write_suite(folder: Path, **entries: Any) -> None:
    """Put the suite into a folder."""
    defaults = {
        "seeds": [0],
        "defenses": ["natural", "at"],
        "attacks": ["pgd-10", "mt-20"],
        "epochs": 2,
        "metrics": ["accuracy", "adversarial-accuracy"],
    }
    text = SUITE.format(**{key: json.dumps(value) for key, value in {**defaults, **entries}.items()})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.toml").write_text(text)


def run(folder: Path, listener: Callable[[Event], None] = lambda _: None, **arguments: Any) -> benchbench.RunResult:
    """Run the suite of a folder within it."""
    given = {"device": "cpu", "runs": folder / "runs", "leaderboards": folder / "leaderboards", **arguments}
    return benchbench.run(str(folder / "tiny.toml"), listener=listener, **given)


def start(target: Callable[..., None], *arguments: Any, **named: Any) -> BaseProcess:
    """Start a process; home and threads are as the test has them, for the server that forks it was started earlier."""
    import torch

    home, threads = os.environ["BENCHBENCH_HOME"], torch.get_num_threads()
    process = CONTEXT.Process(target=_prepared, args=(home, threads, target, *arguments), kwargs=named)
    process.start()
    return process


def _prepared(home: str, threads: int, target: Callable[..., None], *arguments: Any, **named: Any) -> None:
    import torch

    os.environ["BENCHBENCH_HOME"] = home
    torch.set_num_threads(threads)
    target(*arguments, **named)


def run_and_tell(folder: Path, log: Path, together: int = 1, **arguments: Any) -> None:
    """Run, and add a line to a file for each training begun, each cell finished, and the rows in the end.

    Args:
        together: with the first cell it waits until so many processes have begun one.
    """
    begun = False

    def tell(event: Event) -> None:
        nonlocal begun
        if isinstance(event, CellStarted) and not begun:
            begun = True
            _append(log, "begun")
            wait_for(lambda: lines(log).count("begun") >= together)
        if isinstance(event, TrainingStarted) and event.epoch == 0:
            _append(log, "trained")
        if isinstance(event, CellFinished):
            _append(log, f"finished {event.cell_id}")

    _append(log, "started")
    result = run(folder, tell, **arguments)
    _append(log, f"rows {len(result.rows)} failed {result.failed}")


def run_dying_at_flush(folder: Path, count: int, **arguments: Any) -> None:
    """Run, and die by SIGKILL at the n-th flush: odd ones come before a file is renamed into place, even ones after."""
    import benchbench.atomic

    flush, seen = benchbench.atomic._flush, 0

    def dying(path: Path) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(path)

    benchbench.atomic._flush = dying
    run(folder, **arguments)


def run_fresh_elsewhere_dying_at_flush(folder: Path, count: int) -> None:
    """The same of a fresh run that trains other weights, as on another machine."""
    import benchbench.harness.cells

    initialise = benchbench.harness.cells.initialise
    benchbench.harness.cells.initialise = lambda *arguments: shift(initialise(*arguments))
    run_dying_at_flush(folder, count, fresh=True)


def shift(model: Any) -> Any:
    """Change the bias of one class, so that a model predicts other classes."""
    model[-1].bias.data[0].add_(1.0)
    return model


def run_slowly(folder: Path, log: Path) -> None:
    """Run, with a pause at each event of training, so that a process can be caught at it."""

    def linger(event: Event) -> None:
        if isinstance(event, TrainingProgress):
            _append(log, f"epoch {event.epoch}")
            time.sleep(0.2)

    run(folder, linger)


def _append(log: Path, line: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def lines(log: Path) -> list[str]:
    """What was told."""
    return log.read_text().splitlines() if log.exists() else []


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something holds, on a machine however busy."""
    end = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def rows(folder: Path) -> list[Row]:
    """The rows of the leaderboard, without `NOT_COMPARED`."""
    return [dataclasses.replace(row, **NOT_COMPARED) for row in read_rows(folder / "leaderboards" / "tiny.parquet")]


def results(folder: Path) -> dict[str, Any]:
    """What a run leaves: its rows, and every file of outcomes and witnesses, byte for byte."""
    files = [*folder.glob("runs/outcomes/*.parquet"), *folder.glob("runs/witnesses/*.parquet")]
    files += folder.glob("leaderboards/tiny/outcomes/*.parquet")
    return {"rows": rows(folder), **{str(path.relative_to(folder)): path.read_bytes() for path in files}}
