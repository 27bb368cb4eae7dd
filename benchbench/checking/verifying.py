"""Verify the rows of a leaderboard, on a CPU in several processes."""

from __future__ import annotations

import logging
import multiprocessing
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import torch

from benchbench.arguments import checked
from benchbench.checking.evidence import Verdict, evidence_folders
from benchbench.checking.fresh_attack import FreshAttack
from benchbench.checking.replaying import Replayer
from benchbench.checking.rerunning import row_of
from benchbench.contract import DataSource
from benchbench.errors import BenchbenchError, UsageError
from benchbench.executors.slots import cores_for_workers
from benchbench.leaderboard.files import read_rows
from benchbench.leaderboard.identity import tell_apart
from benchbench.leaderboard.names import row_label
from benchbench.leaderboard.published import unshipped
from benchbench.own_model.architectures import find_callable
from benchbench.records import Row
from benchbench.registry import load_registry
from benchbench.settings import AnyPath, find_device, find_folders

MODELS_PER_PROCESS, MOST_PROCESSES = 4, 8  # a process takes seconds to start, and half a GiB
_log = logging.getLogger(__name__)
_replayer: Replayer  # of a process that judges rows for another one


@checked
def verify(
    leaderboard: AnyPath,
    cells: str | Sequence[str] = (),
    *,
    data: AnyPath | None = None,
    runs: AnyPath | None = None,
    device: str | torch.device | None = None,
    download: bool = False,
    replay_only: bool = False,
    seed: int | None = None,
    budget: int | None = None,
    images: AnyPath | None = None,
    architecture: str | None = None,
    jobs: int | None = 1,
    on_problem: Callable[[str], None] = _log.warning,
    done: Callable[[Verdict], None] = lambda _: None,
) -> list[Verdict]:
    """Replay the witnesses of measured rows, and attack again; see `fresh_attack`.

    Args:
        leaderboard: a Parquet file; outcomes, witnesses and checkpoints are sought beside it, then below `runs`.
        cells: an id, or the beginning of one, of a row to check, or several; all rows if empty.
        data: data root; None for the usual one.
        runs: folder of checkpoints and records; None for the usual one.
        device: where models run; None for CUDA if available.
        download: whether missing datasets may be fetched.
        replay_only: make no attack.
        seed: chooses the attacked examples and the draws; None for one that nobody can foresee. Verdicts state it.
        budget: see `FreshAttack`.
        images: see `FreshAttack`.
        architecture: ``FILE.py:callable`` or ``module:callable`` for models trained elsewhere of no registered architecture;
            used where its source has the row's digest.
        jobs: number of processes, of which each shares the cores. None for one to a core, `MOST_PROCESSES` and one to
            `MODELS_PER_PROCESS` models at most, and one where a GPU computes or datasets are fetched. A script that asks for
            several guards its start by ``if __name__ == "__main__"``.
        on_problem: receives a message for each impossible row, which gets no verdict.
        done: receives each verdict.

    Raises:
        StorageError: the file is missing or no leaderboard.
        UsageError: `jobs` is below 1, or several on a GPU; `architecture` cannot be imported; no finished row, or several, are
            meant by one of `cells`.
    """
    folders, board, where = find_folders(data=data, runs=runs), Path(leaderboard), find_device(device)
    rows = read_rows(board, on_problem=on_problem)
    if architecture is not None:
        find_callable(architecture)  # so that its errors are this process's
    if jobs is not None and (jobs < 1 or (jobs > 1 and where.type != "cpu")):
        raise UsageError(f"expected one job, or several on the CPU, got {jobs} on {where}")
    means = _Means(
        folders=evidence_folders(board, folders.runs),
        source=folders.source(download=download),
        device=str(where),
        seed=None if replay_only else secrets.randbits(32) if seed is None else seed,
        budget=budget,
        images=None if images is None else Path(images),
        architecture=architecture,
    )
    batches, others = _batches(rows, cells), [] if cells else [*unshipped(rows)]
    if jobs is None:
        several = where.type == "cpu" and not download
        most = min(cores_for_workers(), MOST_PROCESSES, len(batches) // MODELS_PER_PROCESS)
        jobs = max(most, 1) if several else 1
    listed = [row for batch in (*batches, others) for row in batch]
    labels = tell_apart([*map(row_label, listed)], listed)  # in the order of the verdicts
    verdicts = list[Verdict]()
    for judged in _judged([*batches, others], means, min(jobs, len(batches))):
        for verdict in judged:
            verdicts.append(replace(verdict, label=labels[len(verdicts)]))
            done(verdicts[-1])
    return verdicts


def _batches(rows: Iterable[Row], cells: str | Sequence[str]) -> list[list[Row]]:
    """The measured rows, or those of some cells, by model."""
    measured = sorted((row for row in rows if row.source == "measured"), key=_by_model)
    if cells:
        chosen = {row_of(measured, cell).cell_id for cell in ([cells] if isinstance(cells, str) else cells)}
        measured = [row for row in measured if row.cell_id in chosen]
    return [[*batch] for _, batch in groupby(measured, _by_model)]


@dataclass(frozen=True, kw_only=True)
class _Means:
    """What a replayer is made of, in any process."""

    folders: tuple[Path, ...]
    source: DataSource
    device: str
    seed: int | None  # of the attack; None to replay only
    budget: int | None
    images: Path | None
    architecture: str | None

    def replayer(self) -> Replayer:
        registry, device, attack = load_registry(), torch.device(self.device), None
        if self.seed is not None:
            attack = FreshAttack(
                registry=registry, device=device, seed=self.seed, budget=self.budget, images=self.images
            )
        own = None if self.architecture is None else find_callable(self.architecture)
        return Replayer(
            registry=registry, folders=self.folders, source=self.source, device=device, attack=attack, own=own
        )


def _judged(batches: Sequence[Sequence[Row]], means: _Means, jobs: int) -> Iterator[list[Verdict]]:
    """The verdicts on each batch of rows, in order."""
    if jobs < 2:
        replayer = means.replayer()
        yield from ([replayer.judge(row) for row in batch] for batch in batches)
        return
    threads = max(cores_for_workers() // jobs, 1)
    others = {*multiprocessing.active_children()}
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin, (means, threads))
    try:
        yield from pool.map(_judge, batches)
    except BrokenProcessPool as error:
        hint = "perhaps memory was short; --jobs 1 takes one process"
        raise BenchbenchError("a process that checked rows ended early", hint=hint) from error
    except BaseException:  # Ctrl-C, too
        for process in {*multiprocessing.active_children()} - others:
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(means: _Means, threads: int) -> None:
    """In a new process: prepare to judge rows."""
    global _replayer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    _replayer = means.replayer()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _judge(rows: Sequence[Row]) -> list[Verdict]:
    return [_replayer.judge(row) for row in rows]


def _by_model(row: Row) -> tuple[str, str]:
    """Sort key that has each dataset and each model loaded once."""
    return row.dataset_digest, row.model_id
