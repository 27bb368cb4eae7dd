"""Reads the pages' content: leaderboards, outcomes, histories, clean and attacked images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchbench.arguments import checked
from benchbench.cell.reading import read_cell
from benchbench.checking.evidence import UnavailableError, evidence_folders, find_evidence, read_history
from benchbench.checking.replaying import Replayer
from benchbench.comparison.contenders import OutcomeFiles, find_contenders
from benchbench.errors import BenchbenchError, StorageError
from benchbench.kernels.inputs import as_model_input
from benchbench.leaderboard.challenges import with_challenges
from benchbench.leaderboard.files import read_rows
from benchbench.leaderboard.rebuilding import describe_failed_attempts
from benchbench.leaderboard.separations import FILE_NAME, MeasuredSeparation, read_separations
from benchbench.records import Row, Rows, checkpoint_name
from benchbench.records.arrays import Array, read_arrays
from benchbench.records.disk import file_names
from benchbench.records.outcomes import MALFORMATIONS, WITNESSES
from benchbench.registry import load_registry
from benchbench.report import Board, Contents, Gallery, Specimen, Trouble, write_site
from benchbench.report.boards import MOST_ROWS
from benchbench.settings import Folders, find_device
from benchbench.training.checkpoint import EpochRecord

_OF_CLASSIFIERS = {"correct", "robust", "label", "prediction", "adversarial_prediction"}
SPECIMENS = 12  # shown of each row; up to three quarters of them broken ones


@dataclass(frozen=True, kw_only=True)
class Report:
    """The pages written, index first, and a line for each thing that could not be shown."""

    pages: tuple[Path, ...]
    problems: tuple[str, ...]


@checked
def write_report(out: Path, folders: Folders, files: Sequence[Path] = ()) -> Report:
    """Write the pages of leaderboards; only files in `out` are written.

    Args:
        out: folder of the pages.
        folders: of leaderboards, runs and data; the pages leave out what is missing there.
        files: leaderboard files; by default all of the leaderboards folder.

    Raises:
        StorageError: there are no leaderboards, or the pages cannot be written.
    """
    paths = list(files) or sorted(p for p in folders.leaderboards.glob("*.parquet") if p.name != FILE_NAME)
    if not paths:
        raise StorageError(f"there are no leaderboards in {folders.leaderboards}", hint="benchbench run writes them")
    boards, troubles = _read(paths, folders)
    gatherer = _Gatherer(folders, [board.path for board in boards])
    contents = Contents(
        boards=tuple(boards),
        troubles=tuple(troubles),
        separations=tuple(_separations(folders, troubles)),
        history=gatherer.history,
        gallery=gatherer.gallery,
    )
    pages = write_site(contents, out)
    problems = [t.message if str(t.path) in t.message else f"{t.path}: {t.message}" for t in troubles]
    return Report(pages=tuple(pages), problems=(*problems, *(p for board in boards for p in board.problems)))


def _read(paths: Iterable[Path], folders: Folders) -> tuple[list[Board], list[Trouble]]:
    boards: dict[str, Board] = {}
    troubles = []
    for path in paths:
        problems: list[str] = []
        try:
            rows, _ = with_challenges(read_rows(path, on_problem=problems.append), path)
        except BenchbenchError as error:
            troubles.append(Trouble(path=path, message=error.message))
            continue
        suite = rows[0].suite if rows else ""
        if not rows or suite in boards:
            other = (
                f"its suite {suite!r} is that of {boards[suite].path}" if rows else "it has no row that can be shown"
            )
            troubles.append(Trouble(path=path, message="; ".join([other, *problems])))
            continue
        places = evidence_folders(path, folders.runs)
        detailed = rows if len(rows) <= MOST_ROWS else most_telling(rows, _with_evidence(rows, places))
        contenders = tuple(find_contenders(detailed, OutcomeFiles(places, problems.append)))
        attempts = describe_failed_attempts(path, rows)
        boards[suite] = Board(
            path=path, rows=rows, detailed=detailed, problems=tuple(problems), attempts=attempts, contenders=contenders
        )
    return list(boards.values()), troubles


def most_telling(rows: Rows, evident: Array) -> Rows:
    """At most `MOST_ROWS` measured rows of a large board, those of a model together.

    Models with an evident row come first, then those without flags, then those with the best robust accuracy.
    """
    measured = rows.having("source", "measured")
    chosen, codes = rows.where(measured), rows.where(measured).codes("model_id")
    robust = np.array(chosen.values("adv_test_accuracy"), dtype=float)
    known = ~np.isnan(robust)
    worst = np.ones(len(codes))  # by model; there are no more models than rows
    np.minimum.at(worst, codes[known], robust[known])
    unknown, flagged, without = (
        np.bincount(codes, weights=which, minlength=len(codes)) == 0
        for which in (known, ~chosen.flagged, evident[measured])
    )
    order = np.lexsort((-worst, unknown, flagged, without))
    sizes = np.cumsum(np.bincount(codes, minlength=len(codes))[order])
    shown = np.zeros(len(codes), dtype=bool)
    shown[order[(sizes <= MOST_ROWS) | (np.arange(len(order)) == 0)]] = True
    return chosen.where(shown[codes])[:MOST_ROWS]


def _with_evidence(rows: Rows, folders: Sequence[Path]) -> Array:
    """bool (n,): the rows whose outcomes or checkpoint is here, which their pages show."""
    outcomes, models = (
        frozenset().union(*(file_names(folder / kind) for folder in folders)) for kind in ("outcomes", "models")
    )
    attacked: Array = rows.each(lambda digest: f"{digest}.parquet" in outcomes, "outcomes_digest")
    return attacked | rows.each(lambda model_id: checkpoint_name(model_id) in models, "model_id")


def _separations(folders: Folders, troubles: list[Trouble]) -> Sequence[MeasuredSeparation]:
    try:
        found = read_separations(folders.leaderboards)
        for one in found:
            one.separations  # noqa: B018 - raises if its report is damaged
    except BenchbenchError as error:
        troubles.append(Trouble(path=folders.leaderboards / FILE_NAME, message=error.message))
        return ()
    return found


class _Gatherer:
    """Histories and galleries of rows whose files are available."""

    def __init__(self, folders: Folders, boards: Sequence[Path]) -> None:
        self._folders = tuple(dict.fromkeys(f for path in boards for f in evidence_folders(path, folders.runs)))
        self._replayer = Replayer(
            registry=load_registry(), folders=self._folders, source=folders.source(), device=find_device("cpu")
        )

    def history(self, row: Row) -> Sequence[EpochRecord]:
        return read_history(self._folders, row)

    def gallery(self, row: Row) -> Gallery:
        outcomes, witnesses = (self._arrays(kind, getattr(row, f"{kind}_digest")) for kind in ("outcomes", "witnesses"))
        if outcomes is None or witnesses is None or not is_picture(witnesses[WITNESSES].shape[1:]):
            return Gallery()
        if not outcomes.keys() >= _OF_CLASSIFIERS or len(outcomes["index"]) != len(witnesses[WITNESSES]):
            return Gallery()
        chosen = choose_specimens(outcomes["correct"], outcomes["robust"])
        clean, classes, remark = self._images(row, chosen)
        return Gallery(
            specimens=tuple(
                Specimen(
                    index=int(outcomes["index"][i]),
                    label=_class_name(classes, int(outcomes["label"][i])),
                    prediction=_class_name(classes, int(outcomes["prediction"][i])),
                    adversarial_prediction=_class_name(classes, int(outcomes["adversarial_prediction"][i])),
                    adversarial=witnesses[WITNESSES][i],
                    clean=None if clean is None else clean[place],
                )
                for place, i in enumerate(chosen)
            ),
            remark=remark,
        )

    def _arrays(self, kind: str, digest: str) -> dict[str, Array] | None:
        path = find_evidence(self._folders, kind, f"{digest}.parquet") if digest else None
        try:
            arrays = read_arrays(path, digest) if path is not None else None
        except BenchbenchError:
            return None
        return None if arrays is None or MALFORMATIONS[kind](arrays) else arrays

    def _images(self, row: Row, chosen: Sequence[int]) -> tuple[Array | None, tuple[str, ...], str]:
        try:
            cell = read_cell(row.configuration)
            examples = self._replayer.test_examples(cell).examples
            classes = self._replayer.dataset(cell).splits.classes
        except UnavailableError as error:
            return None, (), f"Only the adversarial images are available ({error})."
        except BenchbenchError as error:
            return None, (), f"Only the adversarial images can be shown: {error.message}"
        if max(chosen, default=0) >= len(examples):
            return None, classes, "Only the adversarial images can be shown: they are of other test examples."
        return as_model_input(examples.inputs[list(chosen)]).numpy(), classes, ""


def choose_specimens(correct: Array, robust: Array) -> list[int]:
    """Positions to show, given bool (N,): broken examples first, then robust ones, then others."""
    broken, kept = np.flatnonzero(correct & ~robust).tolist(), np.flatnonzero(robust).tolist()
    first = broken[: SPECIMENS * 3 // 4]
    order = [*first, *kept, *broken[len(first) :], *np.flatnonzero(~correct).tolist()]
    return order[:SPECIMENS]


def is_picture(shape: tuple[int, ...]) -> bool:
    """Whether an input of this shape, without the batch, can be shown as an image."""
    return len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) > 1


def _class_name(classes: tuple[str, ...], label: int) -> str:
    return classes[label] if 0 <= label < len(classes) else str(label)
