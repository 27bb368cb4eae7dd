"""Compare a row with its evidence: identity, numbers, predictions on adversarial images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from benchbench.cell.model import Cell
from benchbench.errors import BenchbenchError, UnknownNameError
from benchbench.harness.succession import checkpoint_digest
from benchbench.records import Row, checkpoint_name
from benchbench.records.arrays import Array, content_digest, is_intact, read_unchecked_arrays
from benchbench.records.outcomes import MALFORMATIONS
from benchbench.registry import Registry
from benchbench.registry.discovery import HOST
from benchbench.training.checkpoint import EpochRecord, read_checkpoint

Confirmation = Literal["confirmed", "refuted", "unchecked"]
ROUNDING = 1e-4  # of the largest logit: other machines round differently, which may decide a tie
_SHOWN = 3
_EMPTY = {"error": "", "published_source": "", "published_table": ""}  # in the row of a measured, finished cell


class UnavailableError(Exception):
    """A check needs something that is not on this machine; the row stays unchecked."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A contradiction that refutes a row, with the dataset indices of its examples, in order."""

    what: str
    examples: tuple[int, ...] = ()

    def __str__(self) -> str:
        if not self.examples:
            return self.what
        shown = ", ".join(map(str, self.examples[:_SHOWN]))
        more = f" and {len(self.examples) - _SHOWN} more" if len(self.examples) > _SHOWN else ""
        return f"{self.what}: example{'s' if len(self.examples) > 1 else ''} {shown}{more}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of checking one row."""

    cell_id: str
    # status: ``"confirmed"``, ``"refuted"`` by a finding, or ``"unchecked"``: no finding, but something is missing here
    status: Confirmation
    label: str = ""  # tells its row apart from the others of a `verify`
    findings: tuple[Finding, ...] = ()  # what refutes the row
    missing: tuple[str, ...] = ()  # what could not be checked, and why
    claimed: Mapping[str, str] = field(default_factory=dict)  # by column, what the row claims and no evidence shows
    changed: tuple[str, ...] = ()  # components whose code differs from the row's; this does not refute it
    replayed: int = 0  # number of replayed test examples
    # bound: share that withstood the replayed witnesses, >= robust accuracy; None for regressions and without a replay
    bound: float | None = None
    proven: str = ""  # what the replayed witnesses prove, in words; empty if nothing
    remarks: tuple[str, ...] = ()  # what was tried in addition, in words
    seed: int | None = None  # chose the examples of the new attack and its draws; None if no attack was made
    queries: int = 0  # examples that the new attack passed through the model
    sampled: tuple[int, ...] = ()  # dataset indices of the examples attacked again
    broken: tuple[int, ...] = ()  # of those, the ones recorded as robust that the row's own attack breaks now
    flags: tuple[str, ...] = ()  # of the diagnostics, now; they refute nothing
    # broken_share: lower bound on the share of all examples that are misclassified or can be broken; None if unknown
    broken_share: float | None = None

    def __str__(self) -> str:
        """The verdict in one line: status, what is proven, then everything else that is known."""
        said = [self.proven, *map(str, self.findings), *self.missing, *self.remarks]
        if self.broken_share is not None:
            said.append(
                f"at least {_percent(self.broken_share, math.floor)} of the examples are wrong or can be broken"
            )
        said += [f"flags now: {', '.join(self.flags)}"] if self.flags else []
        return f"{self.status}: " + "; ".join(filter(None, [*said, *self.changed]))


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The predictions of the model now."""

    index: Array  # int64 (N,), position of each test example in its dataset
    label: Array  # (N,), classes or targets
    # clean: (N, classes) logits, or (N,) predictions of a regression, on the test examples; None without the model
    clean: Array | None
    attacked: Array | None = None  # the same on the witnesses; None without them, too
    # outside, beyond: (N,) distance of a witness from the box, and to the ball and its tolerance for rounding; at most 0
    # inside; empty without witnesses
    outside: Array = field(default_factory=lambda: np.zeros(0))
    beyond: Array = field(default_factory=lambda: np.zeros(0))


def evidence_folders(leaderboard: Path, runs: Path) -> tuple[Path, ...]:
    """Where a leaderboard's evidence may be: beside the file, and in the folder of the runs."""
    return (leaderboard.parent, leaderboard.parent / leaderboard.stem, runs)


def find_evidence(folders: Iterable[Path], kind: str, name: str) -> Path | None:
    """Find a file of ``outcomes``, ``witnesses`` or ``models``, of several the first intact one."""
    found = [path for folder in folders if (path := folder / kind / name).is_file()]
    if len(found) < 2:
        return found[0] if found else None
    return next((p for p in found if (checkpoint_digest(p) if kind == "models" else is_intact(p, p.stem))), found[0])


def find_weights(folders: Iterable[Path], row: Row) -> Path | None:
    """Find the checkpoint of a row's model in the first folder that has it, see `has_result`."""
    return find_evidence(
        (folder for folder in folders if has_result(folder, row)), "models", checkpoint_name(row.model_id)
    )


def evidence_finder(folders: Sequence[Path], rows: Iterable[Row]) -> Callable[[str, str], Path | None]:
    """Return `find_evidence` in some folders, which finds weights as `find_weights` does."""
    trained = {checkpoint_name(row.model_id): row for row in rows}

    def find(kind: str, name: str) -> Path | None:
        row = trained.get(name) if kind == "models" else None
        return find_evidence(folders, kind, name) if row is None else find_weights(folders, row)

    return find


def has_result(folder: Path, row: Row) -> bool:
    """Whether a folder's checkpoints can be of a row's run.

    Another number of threads trains other weights under the same model id. So a folder of runs without the row's outcomes has
    those of another run. What lies beside a leaderboard is of its rows, and weights whose digest is in the row name themselves.
    """
    if not row.outcomes_digest or row.defense is None or not (folder / "cells").is_dir():
        return True
    return (folder / "outcomes" / f"{row.outcomes_digest}.parquet").is_file()


def read_history(folders: Iterable[Path], row: Row) -> Sequence[EpochRecord]:
    """The training of a row's model by epoch, from its checkpoint; empty if there is none."""
    path = find_weights(folders, row)
    try:
        stored = read_checkpoint(path) if path is not None else None
    except BenchbenchError:
        return ()  # `benchbench verify` reports the error
    return stored.position.history if stored is not None else ()


def read_evidence(
    folders: Iterable[Path], kind: str, digest: str, findings: list[Finding], missing: list[str]
) -> dict[str, Array] | None:
    """Read stored arrays, even if their digest is wrong, so that a finding can name the example."""
    path = find_evidence(folders, kind, f"{digest}.parquet") if digest else None
    if path is None:
        missing.append(f"no {kind} on this machine" if digest else f"the row has no {kind}")
        return None
    try:
        arrays = read_unchecked_arrays(path)
    except BenchbenchError as error:
        findings.append(Finding(what=f"the {kind} cannot be read: {' '.join(error.message.split())[:200]}"))
        return None
    if arrays is None:
        return None
    if content_digest(arrays) != digest:
        findings.append(Finding(what=f"the {kind} are not those that the row names by digest"))
    malformation = MALFORMATIONS[kind](arrays)
    if malformation:
        findings.append(Finding(what=f"the {kind} are malformed: {malformation}"))
    return None if malformation else arrays


def code_changes(cell: Cell, registry: Registry) -> Mapping[str, tuple[str, str]]:
    """Recorded and present code of installed components: {"defense llr": ("revision 1", ...)}."""
    found: dict[str, tuple[str, str]] = {}
    for component in cell.components:
        with suppress(BenchbenchError):
            here = registry.as_here(component)
            if here.code != component.code:
                found[f"{component.kind} {component.name}"] = (component.code, here.code)
    return found


def what_is_missing(error: BaseException, cell: Cell) -> str:
    """Why a component of a row cannot be used here, with the distribution that is not installed."""
    if isinstance(error, UnknownNameError):
        named = (one for one in cell.components if (one.kind, one.name) == (error.kind, error.name))
        owner = next((f"{one.distribution} {one.version}" for one in named if one.distribution != HOST), "")
        if owner:
            return f"{error.message}: {owner}, which the row names, is not installed here"
    said = (error.message, error.hint) if isinstance(error, BenchbenchError) else (str(error),)
    return ": ".join(" ".join(text.split())[:300] for text in said if text)


def identity_findings(row: Row, cell: Cell) -> list[Finding]:
    """Find identity columns that contradict the row's configuration."""
    return [
        Finding(what=f"column {name} is {getattr(row, name)!r}, but the row's configuration says {value!r}")
        for name, value in {**cell.identity(), **_EMPTY}.items()
        if getattr(row, name) != value
    ]


def replay_findings(outcomes: Mapping[str, Array], replay: Replay) -> list[Finding]:
    """Find examples on which the record contradicts the model."""
    if any(len(outcomes.get(name, ())) != len(replay.index) for name in ("index", "label", "prediction")):
        return [Finding(what=f"{len(replay.index):,} examples were replayed, the outcomes are of another number")]
    checks = {
        "the outcomes are of other test examples": outcomes["index"] != replay.index,
        "the recorded label is not the dataset's": outcomes["label"] != replay.label,
        "the adversarial image is not finite": ~np.isfinite(replay.beyond),
        "the adversarial image leaves the box": replay.outside > 0,
        "the adversarial image leaves the ball": replay.beyond > 0,
    }
    if replay.clean is not None:
        judge = _regression_checks if replay.clean.ndim == 1 else _class_checks
        checks |= judge(outcomes, replay.label, replay.clean, replay.attacked)
    found = {what: tuple(replay.index[wrong].tolist()) for what, wrong in checks.items() if wrong.any()}
    return [Finding(what=what, examples=examples) for what, examples in found.items()]


def proven(outcomes: Mapping[str, Array], bound: float | None) -> str:
    """Say what witnesses prove that agree with the model; empty if nothing."""
    if bound is not None:
        return f"robust accuracy is at most {_percent(bound, math.ceil)}"
    if "adv_squared_error" not in outcomes:
        return ""
    return f"the mean squared error under attack is at least {float(np.mean(outcomes['adv_squared_error'])):.4g}"


def withstood(outcomes: Mapping[str, Array], replay: Replay) -> float | None:
    """Share of examples that are correct without perturbation and on the witness."""
    if replay.clean is None or replay.attacked is None or replay.clean.ndim == 1 or not len(replay.label):
        return None
    correct = as_recorded(replay.clean, outcomes["prediction"]) == replay.label
    robust = as_recorded(replay.attacked, outcomes["adversarial_prediction"]) == replay.label
    return float(np.mean(correct & robust))


def _class_checks(
    outcomes: Mapping[str, Array], label: Array, clean: Array, attacked: Array | None
) -> dict[str, Array]:
    pairs = {
        "the model predicts another class than recorded": (clean, outcomes["prediction"]),
        "the model predicts another class on the adversarial image": (attacked, outcomes["adversarial_prediction"]),
    }
    return {what: as_recorded(found, then) != then for what, (found, then) in pairs.items() if found is not None}


def _regression_checks(
    outcomes: Mapping[str, Array], label: Array, clean: Array, attacked: Array | None
) -> dict[str, Array]:
    checks = {"the model predicts another value than recorded": ~_all_close(clean, outcomes["prediction"])}
    for column, answers, where in (("squared_error", clean, ""), ("adv_squared_error", attacked, "perturbed ")):
        if column in outcomes and answers is not None:
            found = _all_close((answers - label) ** 2, outcomes[column])
            checks[f"the squared error on the {where}input is not the recorded one"] = ~found
    return checks


def as_recorded(logits: Array, recorded: Array) -> Array:
    """The predicted classes; the recorded class if its logit is the largest up to rounding."""
    predicted = logits.argmax(axis=1)
    if recorded.dtype.kind not in "iu":
        return np.asarray(predicted)
    known = np.clip(recorded, 0, logits.shape[1] - 1)
    short = logits.max(axis=1) - np.take_along_axis(logits, known[:, None], axis=1)[:, 0]
    tied = (known == recorded) & (short <= ROUNDING * np.maximum(1.0, np.abs(logits).max(axis=1)))
    return np.asarray(np.where(tied, recorded, predicted))


def _percent(share: float, direction: Callable[[float], int]) -> str:
    """A bound in percent, rounded in the direction in which it stays true."""
    return f"{direction(round(1000 * share, 6)) / 10:.1f}%"


def _all_close(first: Array, second: Array) -> Array:
    return np.asarray(np.isclose(first, second, rtol=1e-5, atol=1e-8))
