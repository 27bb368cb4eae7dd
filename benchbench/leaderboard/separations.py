"""Measured separations, kept in one small Parquet file beside the leaderboards, and their table."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchbench.atomic import write_bytes_atomically
from benchbench.errors import CorruptDataError
from benchbench.leaderboard.layout import Column, Entry, Group, Line, Table
from benchbench.leaderboard.names import paper_label, printable
from benchbench.leaderboard.papers import PaperTable
from benchbench.leaderboard.published import PublishedSeparation, published_separation
from benchbench.records.disk import read_bytes
from benchbench.records.parquet import read_parquet

if TYPE_CHECKING:
    from benchbench.separation import Separation, SeparationReport

FILE_NAME = "separation.parquet"
_KIND = {b"benchbench.kind": b"separation", b"benchbench.schema_version": b"1"}
_MEASURES = {
    "train_train_min": "train-train minimum",
    "train_train_mean": "train-train mean",
    "test_train_min": "test-train minimum",
    "test_train_mean": "test-train mean",
}
_MINIMA_ONLY = "1"  # the published table that prints the minima of the original labels alone


@dataclass(frozen=True, kw_only=True)
class MeasuredSeparation:
    """One measurement; distances are L-inf, in units of the model's inputs (pixels / 255).

    Attributes:
        dataset: its name, with options where it has any.
        labels: ``"original"``, or ``"random"`` for uniformly random ones.
        seed: of the random labels.
        excluded: indices of training examples that were left out.
        epsilon: attack radius of interest; None where the protocol has none.
        report: histograms and closest pairs, as JSON of `SeparationReport.to_dict`.
    """

    dataset: str
    labels: str
    seed: int
    excluded: tuple[int, ...]
    n_train: int
    n_test: int
    epsilon: float | None
    train_train_min: float
    train_train_mean: float
    test_train_min: float
    test_train_mean: float
    report: str

    @property
    def key(self) -> tuple[str, str, int, tuple[int, ...]]:
        """What a new measurement replaces an old one by."""
        return (self.dataset, self.labels, self.seed, self.excluded)

    @property
    def separations(self) -> tuple[Separation, Separation]:
        """Train-train and test-train, with histograms and closest pairs."""
        report = json.loads(self.report)
        return _separation(report["train_train"]), _separation(report["test_train"])


_SCHEMA = pa.schema(
    [
        pa.field("dataset", pa.string(), False),
        pa.field("labels", pa.string(), False),
        pa.field("seed", pa.int64(), False),
        pa.field("excluded", pa.list_(pa.int64()), False),
        pa.field("n_train", pa.int64(), False),
        pa.field("n_test", pa.int64(), False),
        pa.field("epsilon", pa.float64(), True),
        *(pa.field(name, pa.float64(), False) for name in _MEASURES),
        pa.field("report", pa.string(), False),
    ],
    metadata=_KIND,
)


def _separation(document: dict[str, Any]) -> Separation:
    from benchbench.separation import Pair, Separation

    given = {field.name: document[field.name] for field in dataclasses.fields(Separation)}
    lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    return Separation(**{**given, **lists, "closest": tuple(Pair(**pair) for pair in given["closest"])})


def measured_separation(dataset: str, report: SeparationReport, *, seed: int = 0) -> MeasuredSeparation:
    """A report as a record; the seed matters for random labels only."""
    return MeasuredSeparation(
        dataset=dataset,
        seed=seed if report.random_labels else 0,
        excluded=report.excluded,
        n_train=report.train_train.examples,
        n_test=report.test_train.examples,
        report=json.dumps(report.to_dict(), sort_keys=True),
        **report.row(),
    )


def record_separation(folder: Path, measured: MeasuredSeparation) -> Path:
    """Add a measurement to the file of a leaderboard folder, in place of an older one of the same key.

    Raises:
        StorageError: it cannot be written.
        CorruptDataError: the file there is not one of separations.
    """
    path = folder / FILE_NAME
    kept = {row.key: row for row in read_separations(folder)} | {measured.key: measured}
    records = [dataclasses.asdict(kept[key]) | {"excluded": list(kept[key].excluded)} for key in sorted(kept)]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records, schema=_SCHEMA), buffer, compression="zstd", write_page_checksum=True)
    write_bytes_atomically(path, buffer.getvalue())
    return path


def read_separations(folder: Path) -> list[MeasuredSeparation]:
    """The measurements of a leaderboard folder, sorted; none when there is no file.

    Raises:
        CorruptDataError: the file is damaged or of another kind.
    """
    path = folder / FILE_NAME
    content = read_bytes(path)
    if content is None:
        return []
    table = read_parquet(content, str(path), hint="benchbench separation writes it anew")
    if not table.schema.equals(_SCHEMA) or (table.schema.metadata or {}).get(b"benchbench.kind") != b"separation":
        raise CorruptDataError(
            f"{path} does not hold separations", hint="move it away; benchbench separation writes one"
        )
    return [MeasuredSeparation(**{**row, "excluded": tuple(row["excluded"])}) for row in table.to_pylist()]


def separation_table(measured: Iterable[MeasuredSeparation], paper_table: PaperTable) -> Table:
    """A published table of separations, ours beside each line. Table 1 is the minima of Table 8's original labels."""
    minima = paper_table.number == _MINIMA_ONLY
    shown = {name: label for name, label in _MEASURES.items() if not minima or name.endswith("min")}
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
    title = f"{paper_label(paper_table.paper)}, Table {paper_table.number}: {paper_table.caption}"
    return Table(title=title, columns=columns, groups=groups, notes=_NOTES)


_NOTES = (
    "L-inf distances over pixels / 255, exact over all examples, so there is no sampling interval. "
    "agrees exactly: equal to the three printed decimals; differs: not.",
    "Random labels are drawn anew: their means should come close, their minima depend on a few examples.",
    "The published numbers of SVHN leave out three training examples, those of Restricted ImageNet a few images "
    "(duplicates with different labels).",
)


def _lines(
    reference: PublishedSeparation, matching: Sequence[MeasuredSeparation], shown: dict[str, str], table: PaperTable
) -> list[Line]:
    lines = [_line(reference.dataset, "published", {name: getattr(reference, name) for name in shown}, None, table)]
    for row in matching:
        without = f", without {printable(', '.join(map(str, row.excluded)))}" if row.excluded else ""
        source = f"ours{without}" + (f", seed {row.seed}" if row.labels == "random" else "")
        lines.append(_line(row.dataset, source, {name: getattr(row, name) for name in shown}, reference, table))
    if not matching:
        lines.append(_line(reference.dataset, "ours", dict.fromkeys(shown), reference, table))
    return lines


def _line(
    dataset: str, source: str, values: dict[str, Any], reference: PublishedSeparation | None, table: PaperTable
) -> Line:
    entries = [Entry(value=dataset, text=printable(dataset)), Entry(value=source, text=source)]
    for name, value in values.items():
        if value is None:
            entries.append(Entry(value=None, text="not run", verdict="not run"))
            continue
        text = f"{value:.{table.decimals}f}"
        verdict = "" if reference is None else _verdict(value, getattr(reference, name), table.decimals)
        entries.append(Entry(value=value, text=f"{text}\n{verdict}".strip(), verdict=verdict))
    status = "not run" if any(value is None for value in values.values()) else "ok"
    return Line(
        entries=tuple(entries), cell_id="", source="published" if reference is None else "measured", status=status
    )


def _verdict(ours: float, theirs: float, decimals: int) -> str:
    return "agrees exactly" if abs(ours - theirs) <= 0.5 * 10.0**-decimals * (1 + 1e-9) else "differs"
