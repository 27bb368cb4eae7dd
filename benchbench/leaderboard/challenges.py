"""Challenges: anyone's adversarial images, kept beside a leaderboard against a row.

``<folder>/<suite>/challenges/<cell id>/<digest>.parquet`` holds the images that broke examples which the row counts as robust,
and who sent them. A row's measures never change; what a challenge lowers is shown beside them. Files are named by their
content and read as a set, so that their order changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchbench.atomic import write_atomically, write_bytes_atomically
from benchbench.errors import BenchbenchError
from benchbench.escaping import printable
from benchbench.leaderboard.names import row_label
from benchbench.leaderboard.rebuilding import outcomes_folder
from benchbench.records import Row, Rows
from benchbench.records.arrays import Array, content_digest, read_unchecked_arrays, write_arrays
from benchbench.records.disk import file_names, read_bytes
from benchbench.records.outcomes import WITNESSES

CHALLENGED = "challenged_adv_test_accuracy"
"""Name in `Row.extra` of shown rows: robust accuracy under the attack and all challenges."""
_CREDIT = b"benchbench.by"


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """Accepted images: int64 (n,) dataset indices, float32 (n, ...) images, who sent them."""

    by: str
    index: Array
    images: Array


def challenges_folder(path: Path, row: Row) -> Path:
    """The folder of a row's challenges, beside its leaderboard file."""
    return path.parent / row.suite / "challenges" / row.cell_id


def write_challenge(folder: Path, challenge: Challenge) -> Path:
    """Write a challenge under the name of its content."""
    arrays = {"index": challenge.index, WITNESSES: challenge.images}
    name = hashlib.sha256(f"{challenge.by}\n{content_digest(arrays)}".encode()).hexdigest()
    path = folder / f"{name}.parquet"
    write_atomically(path, lambda file: write_arrays(file, arrays, about={_CREDIT: challenge.by.encode()}))
    return path


def read_challenges(folder: Path) -> Iterator[Challenge]:
    """The challenges in a folder, in the order of their names; damaged ones are left out."""
    for name in sorted(name for name in file_names(folder) if name.endswith(".parquet")):
        try:
            arrays = read_unchecked_arrays(folder / name) or {}
            by = (pq.read_schema(folder / name).metadata or {}).get(_CREDIT, b"").decode(errors="replace")
        except BenchbenchError:
            continue
        index, images = arrays.get("index"), arrays.get(WITNESSES)
        if index is not None and images is not None and index.ndim == 1 and images.ndim > 1 and index.dtype.kind == "i":
            yield Challenge(by=by[:100], index=index, images=images)


def copy_challenges(cells: Iterable[str], source: Path, target: Path) -> None:
    """Copy the challenges of some rows from one folder ``challenges`` to another."""
    for cell_id in {*cells} & {*file_names(source)}:
        for name in file_names(source / cell_id) - file_names(target / cell_id):
            if name.endswith(".parquet") and (content := read_bytes(source / cell_id / name)) is not None:
                write_bytes_atomically(target / cell_id / name, content)


def challenged_accuracy(outcomes: dict[str, Array], challenges: Iterable[Challenge]) -> float:
    """Share of test examples that withstand the row's own attack and all challenges."""
    broken = np.concatenate([np.empty(0, dtype=np.int64), *(challenge.index for challenge in challenges)])
    return float(np.mean(outcomes["robust"] & ~np.isin(outcomes["index"], broken)))


def with_challenges(rows: Rows, path: Path) -> tuple[Rows, tuple[str, ...]]:
    """The rows of a file, challenged ones with `CHALLENGED` in `extra`, and notes on them."""
    known = {
        folder for (suite,) in rows.distinct("suite")[0] for folder in file_names(path.parent / suite / "challenges")
    }
    if not known:
        return rows, ()
    extras, notes = rows.values("extra"), []
    for place in np.flatnonzero(rows.having("cell_id", *known)).tolist():
        row = rows[place]
        challenges = list(read_challenges(challenges_folder(path, row)))
        outcomes = read_unchecked_arrays(outcomes_folder(path, row.suite) / f"{row.outcomes_digest}.parquet") or {}
        if challenges and {"robust", "index"} <= outcomes.keys():
            share = challenged_accuracy(outcomes, challenges)
            extras[place] = [*dict(extras[place]).items(), (CHALLENGED, share)]
            by = ", ".join(sorted({printable(challenge.by) for challenge in challenges}))
            notes.append(f"§ challenged by {by}: {row_label(row)}: robust accuracy is at most {100 * share:.2f}%")
    return rows.replaced("extra", extras) if notes else rows, tuple(notes)
