"""The papers' tables of separations, with ours beside every number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from benchbench.escaping import printable
from benchbench.leaderboard.identity import grouped
from benchbench.leaderboard.layout import Column, Entry, Group, Line, Table
from benchbench.leaderboard.published import PublishedSeparation, published_separation
from benchbench.leaderboard.separations import MEASURES, MeasuredSeparation
from benchbench.leaderboard.spread import prediction_interval
from benchbench.records import Interval
from benchbench.reproduction.papers import PaperTable
from benchbench.reproduction.verdicts import (
    AGREES,
    DIFFERS,
    EXACT,
    NOT_RUN,
    UNEQUAL,
    judge_certain,
    judge_values,
    judged_entry,
)

_MINIMA_ONLY = "1"  # the published table that prints the minima of the original labels alone


def separation_table(measured: Iterable[MeasuredSeparation], paper_table: PaperTable) -> Table:
    """Published separations with ours below; Table 1 has Table 8's minima of original labels."""
    minima = paper_table.number == _MINIMA_ONLY
    shown = {name: label for name, label in MEASURES.items() if not minima or name.endswith("min")}
    columns = (
        Column(key="dataset", label="dataset"),
        Column(key="reference", label="source"),
        *(Column(key=name, label=label, align="right") for name, label in shown.items()),
    )
    lines: dict[str, list[Line]] = {}
    ours = list(measured)
    for reference in published_separation():
        if minima and reference.labels != "original":
            continue
        matching = [row for row in ours if (row.dataset, row.labels) == (reference.dataset, reference.labels)]
        lines.setdefault(reference.labels, []).extend(_lines(reference, matching, shown, paper_table))
    groups = tuple(
        Group(label=f"{labels} labels", attributes=(("labels", labels),), lines=tuple(found))
        for labels, found in lines.items()
    )
    return Table(title=paper_table.title, columns=columns, groups=groups, notes=_NOTES)


_NOTES = (
    "L-inf distances over pixels / 255, exact over all examples, so there is no sampling interval. "
    f"{EXACT}: equal to the three printed decimals; {DIFFERS}: not.",
    "Our random labels are other draws than the paper's: means should be close, but minima depend on a few examples. "
    f"With one draw, other digits decide nothing ({UNEQUAL}). With several draws, the line below has their mean and the 95% "
    f"prediction interval of a further draw; {AGREES}: the printed value lies in it; {DIFFERS}: it does not.",
    "The published numbers of SVHN leave out three training examples, those of Restricted ImageNet a few images "
    "(duplicates with different labels).",
)


def _lines(
    reference: PublishedSeparation, matching: Sequence[MeasuredSeparation], shown: dict[str, str], table: PaperTable
) -> list[Line]:
    name = f"{reference.dataset}, {reference.labels} labels"
    published = {key: (getattr(reference, key), "") for key in shown}
    lines = [_line(reference.dataset, "published", published, table)]
    for excluded, rows in grouped(matching, lambda row: row.excluded).items():
        source = f"ours, without {printable(', '.join(map(str, excluded)))}" if excluded else "ours"
        verdicts = {key: _verdict(rows, reference, key, table) for key in shown}
        for row in rows:
            seed = f", seed {row.seed}" if row.labels == "random" else ""
            values = {key: (getattr(row, key), "" if len(rows) > 1 else verdicts[key]) for key in shown}
            lines.append(_line(row.dataset, source + seed, values, table, name))
        if len(rows) > 1:
            lines.append(_mean_line(rows, f"{source}, {len(rows)} seeds: mean", verdicts, table, name))
    if not matching:
        lines.append(_line(reference.dataset, "ours", dict.fromkeys(shown, (None, NOT_RUN)), table, name))
    return lines


def _verdict(rows: Sequence[MeasuredSeparation], reference: PublishedSeparation, key: str, table: PaperTable) -> str:
    ours, theirs = [float(getattr(row, key)) for row in rows], float(getattr(reference, key))
    if reference.labels != "random":
        return judge_certain(ours[0], theirs, step=table.step())
    return judge_values(ours, theirs, step=table.step())


def _mean_line(
    rows: Sequence[MeasuredSeparation], source: str, verdicts: Mapping[str, str], table: PaperTable, reference: str
) -> Line:
    ours = {key: [float(getattr(row, key)) for row in rows] for key in verdicts}
    values = {key: (sum(found) / len(found), verdicts[key]) for key, found in ours.items()}
    intervals = {key: prediction_interval(found) for key, found in ours.items()}
    return _line(rows[0].dataset, source, values, table, reference, intervals)


def _line(
    dataset: str,
    source: str,
    values: Mapping[str, tuple[float | None, str]],
    table: PaperTable,
    reference: str = "",
    intervals: Mapping[str, Interval | None] = MappingProxyType({}),
) -> Line:
    entries = [Entry(value=dataset, text=printable(dataset)), Entry(value=source, text=source)]
    for key, (value, verdict) in values.items():
        if value is None:
            entries.append(Entry(value=None, text=verdict, verdict=verdict))
        else:
            entries.append(judged_entry(value, intervals.get(key), verdict, lambda x: f"{x:.{table.decimals}f}"))
    return Line(
        entries=tuple(entries),
        cell_id="",
        source="measured" if reference else "published",
        status=NOT_RUN if any(value is None for value, _ in values.values()) else "ok",
        reference=reference,
    )
