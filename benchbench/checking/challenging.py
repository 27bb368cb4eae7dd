"""Challenge a row: check adversarial images from anyone, and keep those that break it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchbench.cell.reading import read_cell
from benchbench.checking.evidence import Finding, UnavailableError, evidence_folders, read_evidence
from benchbench.checking.passes import judge_images
from benchbench.checking.replaying import Replayer
from benchbench.checking.rerunning import find_row
from benchbench.errors import DataError, UsageError
from benchbench.leaderboard.challenges import (
    Challenge,
    challenged_accuracy,
    challenges_folder,
    read_challenges,
    write_challenge,
)
from benchbench.own_model.architectures import find_callable
from benchbench.records import Row
from benchbench.records.arrays import Array, read_images
from benchbench.registry import load_registry
from benchbench.settings import find_device, find_folders

LONGEST_NAME = 100  # characters of a challenger's name


@dataclass(frozen=True, kw_only=True)
class ChallengeResult:
    """What images did to a row; examples are named by their dataset index."""

    cell_id: str
    broken: tuple[int, ...]  # examples that the row counts as robust and these images break
    known: tuple[int, ...]  # examples that they break, and the row's own attack or an earlier challenge did before
    rejected: dict[str, tuple[int, ...]]  # by reason
    bound: float  # robust accuracy on the row's attack and all challenges, these images included
    path: Path | None  # the evidence written; None if nothing new broke


def challenge(
    cell_id: str,
    images: Path,
    *,
    leaderboard: Path,
    by: str,
    architecture: str | None = None,
    data: Path | None = None,
    runs: Path | None = None,
    device: str | None = None,
    download: bool = False,
) -> ChallengeResult:
    """Check images against a row's box, ball and model; keep those that break robust examples.

    Args:
        cell_id: the row's id, or its beginning.
        images: Parquet file with the columns ``index`` (of the test example in its dataset) and ``image`` (pixels / 255).
        leaderboard: the file of the row. What is accepted is written beside it, see `benchbench.leaderboard.challenges`.
        by: who gets the credit; at most 100 characters.
        architecture, data, runs, device, download: as for `verify`.

    Raises:
        UsageError: no or several rows, or no name.
        DataError: the row's outcomes, weights or data are not here, or the file holds no such images.
    """
    if not by.strip() or len(by) > LONGEST_NAME or by != by.encode(errors="replace").decode():
        raise UsageError(f"--by is the challenger's name, of 1 to {LONGEST_NAME} characters in UTF-8")
    folders, where = find_folders(data=data, runs=runs), find_device(device)
    row = find_row(cell_id, folders.runs, leaderboard)
    replayer = Replayer(
        registry=load_registry(),
        folders=evidence_folders(leaderboard, folders.runs),
        source=folders.source(download=download),
        device=where,
        own=None if architecture is None else find_callable(architecture),
    )
    cell = read_cell(row.configuration)
    try:
        outcomes, test, model = _outcomes(row, replayer), replayer.test_examples(cell), replayer.model(row, cell)
    except UnavailableError as error:
        raise DataError(f"cell {row.cell_id} cannot be challenged here: {error}") from error
    index, pictures = read_images(images, tuple(test.examples.inputs.shape[1:]))
    found = judge_images(model, test, cell.evaluation.threat, index, pictures, outcomes, where)
    folder = challenges_folder(leaderboard, row)
    earlier = list(read_challenges(folder))
    open_ = outcomes["index"][outcomes["robust"]]
    fresh = found.breaks & np.isin(index, np.setdiff1d(open_, np.concatenate([index[:0], *(c.index for c in earlier)])))
    first = np.zeros(len(index), dtype=bool)
    first[np.unique(np.where(fresh, index, -1), return_index=True)[1]] = True
    kept = Challenge(by=by.strip(), index=index[fresh & first], images=pictures[fresh & first])
    new = [kept] if len(kept.index) else []
    return ChallengeResult(
        cell_id=row.cell_id,
        broken=tuple(kept.index.tolist()),
        known=tuple(np.unique(index[found.breaks & ~fresh]).tolist()),
        rejected=found.rejected,
        bound=challenged_accuracy(outcomes, [*earlier, *new]),
        path=write_challenge(folder, kept) if new else None,
    )


def _outcomes(row: Row, replayer: Replayer) -> dict[str, Array]:
    findings, missing = list[Finding](), list[str]()
    outcomes = read_evidence(replayer.folders, "outcomes", row.outcomes_digest, findings, missing)
    if outcomes is None or findings:
        raise UnavailableError("; ".join([*map(str, findings), *missing]))
    if not {"index", "prediction", "robust"} <= outcomes.keys():
        raise UnavailableError("only rows of classifiers that were attacked can be challenged")
    return outcomes
