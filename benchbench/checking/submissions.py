"""A submission: what is wrong with it, and how it enters a laboratory's leaderboards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict

from benchbench.atomic import scratch_folder, write_atomically
from benchbench.checking.evidence import Verdict, evidence_finder
from benchbench.checking.verifying import verify
from benchbench.errors import BenchbenchError, DataError, counted, first
from benchbench.harness.succession import checkpoint_digest
from benchbench.leaderboard.files import held, read_rows, write_leaderboard
from benchbench.leaderboard.merging import Conflict, copy_evidence, merge
from benchbench.leaderboard.packing import LEADERBOARD, Submission, strangers, unpack, weight_problems
from benchbench.records import Rows, checkpoint_name
from benchbench.settings import find_folders


class Checks(TypedDict):
    """How `benchbench.checking.verifying.verify` checks rows: its arguments."""

    data: Path | None
    runs: Path | None
    device: str | None
    download: bool
    replay_only: bool
    seed: int | None
    budget: int | None
    images: Path | None
    architecture: str | None
    jobs: int | None


@dataclass(frozen=True, kw_only=True)
class Examined:
    """An unpacked submission, its problems, its valid rows and a verdict on each."""

    submission: Submission
    problems: tuple[str, ...]
    rows: Rows
    verdicts: tuple[Verdict, ...]

    @property
    def valid(self) -> bool:
        """Whether there are rows, no problem was found, and no row was refuted."""
        return not self.problems and bool(self.verdicts) and all(v.status != "refuted" for v in self.verdicts)


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """How a submission entered a leaderboard; `path` is None if it did not."""

    examined: Examined
    path: Path | None
    new: int  # rows that were not there before
    conflicts: tuple[Conflict, ...]  # cells that are there with other results


def examine(path: Path, folder: Path, how: Checks) -> Examined:
    """Unpack a submission into an empty folder and check it; StorageError if it is none."""
    unpacked = unpack(path, folder)
    problems, rows, verdicts = list(unpacked.problems), Rows.of(()), list[Verdict]()
    try:
        rows = read_rows(folder / LEADERBOARD, on_problem=problems.append)
        suites = sorted({unpacked.suite, *(suite for (suite,) in rows.distinct("suite")[0])})
        problems += [f"its manifest and its rows name different suites: {', '.join(suites)}"] if len(suites) > 1 else []
        problems += first(strangers(unpacked, rows))
        places = (folder, find_folders(runs=how["runs"]).runs)
        problems += weight_problems(unpacked, rows, evidence_finder(places, rows))
        verdicts = verify(folder / LEADERBOARD, **how, on_problem=lambda _: None)
    except BenchbenchError as error:
        problems.append(error.message)
    problems = [problem.replace(f"{folder}/", "") for problem in problems]  # which is temporary
    return Examined(submission=unpacked, problems=tuple(problems), rows=rows, verdicts=tuple(verdicts))


def accept(
    path: Path, leaderboards: Path, how: Checks, *, unchecked: bool = False, done: Callable[[Examined], None]
) -> Accepted:
    """Check a submission and put it into a laboratory's folders.

    Rows go into ``<leaderboards>/<suite>.parquet``; outcomes, adversarial images and weights beside it. Nothing is written if
    the submission has a problem, a row is refuted, cells are there with other results or, unless `unchecked` rows are taken
    too, a row could not be checked.
    `done` receives what was found before anything is written.
    """
    with scratch_folder("accept") as folder:
        examined = examine(path, folder, how)
        done(examined)
        open_ = [v.cell_id for v in examined.verdicts if v.status == "unchecked"]
        if not examined.valid:
            return Accepted(examined=examined, path=None, new=0, conflicts=())
        if open_ and not unchecked:
            raise DataError(
                f"{counted(len(open_), 'row')} could not be checked here: {', '.join(first(open_))}",
                hint="each verdict says what is missing: data, weights or --architecture; --unchecked takes them as they are",
            )
        with held(leaderboards / f"{examined.rows[0].suite}.parquet"):
            return _put(examined, path, [folder, find_folders(runs=how["runs"]).runs], leaderboards)


def _put(examined: Examined, path: Path, folders: Sequence[Path], leaderboards: Path) -> Accepted:
    """Put rows into a laboratory's folders, evidence from `folders`, weights from the first one."""
    suite = examined.rows[0].suite
    board = leaderboards / f"{suite}.parquet"
    present = read_rows(board) if board.exists() else Rows.of(())
    merged = merge({str(board): present, str(path): examined.rows} if len(present) else {str(path): examined.rows})
    if merged.conflicts:
        return Accepted(examined=examined, path=None, new=0, conflicts=merged.conflicts)
    copy_evidence(examined.rows, folders, leaderboards / suite)
    for weights in sorted((folders[0] / "models").glob("*.safetensors")):
        target, digest = leaderboards / suite / "models" / weights.name, checkpoint_digest(weights)
        if target.exists() and digest not in ("", checkpoint_digest(target)):  # the rows of both can be verified
            target = target.with_name(checkpoint_name(f"{weights.stem}.{digest}"))
        if not target.exists():
            write_atomically(target, partial(shutil.copyfile, weights))
    write_leaderboard(board, merged.rows)
    return Accepted(examined=examined, path=board, new=len(merged.rows) - len(present), conflicts=())
