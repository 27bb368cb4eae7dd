"""Measured separations, kept in one small Parquet file beside the leaderboards."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchbench.atomic import write_bytes_atomically
from benchbench.errors import CorruptDataError
from benchbench.records.disk import read_bytes
from benchbench.records.parquet import read_parquet

if TYPE_CHECKING:
    from benchbench.separations import Separation, SeparationReport

FILE_NAME = "separation.parquet"
OWN_LABELS = "its own labels"
MEASURES = {
    "train_train_min": "train-train minimum",
    "train_train_mean": "train-train mean",
    "test_train_min": "test-train minimum",
    "test_train_mean": "test-train mean",
}


@dataclass(frozen=True, kw_only=True)
class MeasuredSeparation:
    """One measurement; distances are L-inf, in units of the model's inputs (pixels / 255)."""

    dataset: str  # its name with its options
    labels: str  # "original", or "random" for uniformly random ones, drawn from `seed`
    seed: int
    excluded: tuple[int, ...]  # indices of training examples that were left out
    n_train: int
    n_test: int
    epsilon: float | None  # attack radius of interest; None where the protocol has none
    train_train_min: float
    train_train_mean: float
    test_train_min: float
    test_train_mean: float
    report: str  # histograms and closest pairs, as JSON of `SeparationReport.to_dict`

    @property
    def key(self) -> tuple[str, str, int, tuple[int, ...]]:
        """Identity of a measurement: a new one replaces the old one of the same key."""
        return (self.dataset, self.labels, self.seed, self.excluded)

    @property
    def separations(self) -> tuple[Separation, Separation]:
        """Train-train and test-train, with histograms and pairs; CorruptDataError for damage."""
        try:
            report = json.loads(self.report)
            if not math.isfinite(self.epsilon or 0):
                raise ValueError("its radius is not finite")
            return _separation(report["train_train"]), _separation(report["test_train"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            reason = f"{type(error).__name__}: {str(error)[:100]}"
            message = f"the separation of {self.dataset} has no report that can be read ({reason})"
            raise CorruptDataError(message, hint="benchbench separation measures it anew") from error


_SCHEMA = pa.schema(
    [
        pa.field("dataset", pa.string(), False),
        pa.field("labels", pa.string(), False),
        pa.field("seed", pa.int64(), False),
        pa.field("excluded", pa.list_(pa.int64()), False),
        pa.field("n_train", pa.int64(), False),
        pa.field("n_test", pa.int64(), False),
        pa.field("epsilon", pa.float64(), True),
        *(pa.field(name, pa.float64(), False) for name in MEASURES),
        pa.field("report", pa.string(), False),
    ],
    metadata={b"benchbench.kind": b"separation", b"benchbench.schema_version": b"1"},
)


def _separation(document: dict[str, Any]) -> Separation:
    from benchbench.separations import Pair, Separation

    given = {field.name: document[field.name] for field in dataclasses.fields(Separation)}
    lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    found = Separation(**{**given, **lists, "closest": tuple(Pair(**pair) for pair in given["closest"])})
    numbers = [found.examples, found.minimum, found.mean, *found.histogram, *found.edges, found.epsilon or 0]
    numbers += [number for pair in found.closest for number in vars(pair).values()]
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a number is not finite")
    return found


def measured_separation(dataset: str, report: SeparationReport, *, seed: int = 0) -> MeasuredSeparation:
    """A report as a record; only random labels have a seed."""
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
    """Add a measurement to a leaderboard folder's file, replacing an older one of its key."""
    path = folder / FILE_NAME
    kept = {row.key: row for row in read_separations(folder)} | {measured.key: measured}
    records = [dataclasses.asdict(kept[key]) | {"excluded": list(kept[key].excluded)} for key in sorted(kept)]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records, schema=_SCHEMA), buffer, compression="zstd", write_page_checksum=True)
    write_bytes_atomically(path, buffer.getvalue())
    return path


def read_separations(folder: Path) -> list[MeasuredSeparation]:
    """The measurements of a folder, sorted; none without a file, CorruptDataError for damage."""
    path = folder / FILE_NAME
    content = read_bytes(path)
    if content is None:
        return []
    table = read_parquet(content, str(path), hint="benchbench separation writes it anew")
    if not table.schema.equals(_SCHEMA) or (table.schema.metadata or {}).get(b"benchbench.kind") != b"separation":
        hint = "move it away; benchbench separation writes one"
        raise CorruptDataError(f"{path} does not hold separations", hint=hint)
    return [MeasuredSeparation(**{**row, "excluded": tuple(row["excluded"])}) for row in table.to_pylist()]


def separation_label(measured: MeasuredSeparation) -> str:
    """Label within a dataset: ``random labels, seed 1, without training examples 3, 5``."""
    labels = f"random labels, seed {measured.seed}" if measured.labels == "random" else OWN_LABELS
    without = f", without training examples {', '.join(map(str, measured.excluded))}" if measured.excluded else ""
    return labels + without
