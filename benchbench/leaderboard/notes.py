"""The notes below a table: what its marks mean, flags, errors and cards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchbench.escaping import printable
from benchbench.leaderboard.identity import grouped, tell_apart
from benchbench.leaderboard.layout import Group
from benchbench.leaderboard.lines import FAILED, FLAGGED
from benchbench.leaderboard.names import method_label
from benchbench.records import Row, Rows
from benchbench.records.cards import card_note

BOLD = (
    "Bold: best measured value of its group, and those whose 95% intervals overlap its own (without intervals: those equal as "
    "shown); flagged rows do not compete."
)
_LONGEST = 200  # characters of an error
_WHERE = (
    "profile",
    "dataset",
    "architecture",
    "architecture_options",
    "dropout",
)  # a method may have other flags in each


def table_notes(rows: Rows, made: Sequence[Group], task: str, intervals: bool) -> tuple[str, ...]:
    """What the marks, units and numbers of a table's groups mean."""
    notes = []
    if any(entry.best for group in made for line in group.lines for entry in line.entries):
        notes.append(BOLD)
    if any(entry.deviation is not None for group in made for line in group.lines for entry in line.entries):
        notes.append("Several seeds: mean ± standard deviation; 95% intervals are Student's t of the mean.")
    if intervals:
        notes.append(
            "Brackets: 95% confidence intervals (Wilson for accuracies, Newcombe for gaps, bootstrap otherwise)."
        )
    kinds = rows.distinct("source", "profile")[0]
    if len({source for source, _ in kinds}) > 1 and {profile for _, profile in kinds} != {"paper"}:
        notes.append("Published numbers are of the papers' full protocol; other profiles use less data or training.")
    if task == "regression":
        notes.append("MSE: mean squared error; gap: test minus train.")
    return tuple(notes)


def row_notes(rows: Iterable[Row]) -> tuple[str, ...]:
    """Notes: flags of flagged rows, errors of failed ones, models' cards; equal ones once."""
    listed = Rows.of(rows)
    flagged, failed = listed.where(listed.flagged), listed.where(listed.having("status", "failed"))
    carded = listed.where(listed.known("card"))
    return (
        *(f"{FLAGGED} {label}: {printable(', '.join(flags))}" for label, flags in _noted(flagged, "flags")),
        *(f"{FAILED} failed: {label}: {_cut(error)}" for label, error in _noted(failed, "error")),
        *(printable(card_note(own)) for own in grouped(carded, lambda row: (row.model_id, row.card)).values()),
    )


def _noted(rows: Rows, column: str) -> Iterator[tuple[str, Any]]:
    """Each method with each value of a column; of several, with what tells them apart."""
    columns = [*map(rows.values, (column, *_WHERE, "defense", "defense_options", "defense_label", "card"))]
    places: dict[tuple[str, str, tuple[object, ...]], int] = {}  # the first of each method, value and where
    for place, (found, *others) in enumerate(zip(*columns)):
        where, method = tuple(others[: len(_WHERE)]), others[len(_WHERE) :]
        places.setdefault((method_label(*method), str(found), where), place)
    chosen = []
    for known in grouped(places, lambda one: one[0]).values():
        by_value = grouped(known, lambda one: one[1]).values()
        chosen += [one for same in by_value for one in same] if len(by_value) > 1 else known[:1]
    labels, kept = [label for label, *_ in chosen], [places[one] for one in chosen]
    if len({*labels}) < len(labels):
        labels = tell_apart(labels, list(rows.take(kept)))
    return zip(labels, (columns[0][place] for place in kept))


def _cut(error: str) -> str:
    return printable(error[:_LONGEST]) + "..." * (len(error) > _LONGEST)
