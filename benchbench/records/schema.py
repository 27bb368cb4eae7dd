"""The Arrow schema of a leaderboard, from `Row`; rows as tables, and older records."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from benchbench.cell.model import WITHOUT_THREAT, Columns
from benchbench.errors import StorageError, first
from benchbench.records.row import Row

NO_DIAGNOSTICS = 0  # the revision of diagnostics in rows of regressions


def completed(record: Columns) -> Columns:
    """A record with the columns of schema 3; before, the training's threat was the attack's."""
    if "train_norm" in record:
        return dict(record)
    diagnostics = NO_DIAGNOSTICS if record.get("test_mse") is not None else 1
    trained = trained_under(record["defense"], record["norm"], record["epsilon"])
    return {**record, **trained, "diagnostics": diagnostics}


def trained_under(defense: str, norm: str, epsilon: float) -> Columns:
    """The training threat's columns if it equals the attack's; empty for methods without one."""
    if defense in WITHOUT_THREAT:
        return {"train_norm": "", "train_epsilon": None}
    return {"train_norm": norm, "train_epsilon": epsilon}


SCHEMA_VERSION = 4  # raised with every new column; rows of older files get the column's default
_KIND_KEY = b"benchbench.kind"
_VERSION_KEY = b"benchbench.schema_version"
_READ = tuple(str(version) for version in range(1, SCHEMA_VERSION + 1))
_ARROW_TYPES = {
    "str": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "tuple[str, ...]": pa.list_(pa.string()),
    "Mapping[str, float]": pa.map_(pa.string(), pa.float64()),
}


def schema(version: int = SCHEMA_VERSION) -> pa.Schema:
    """The schema of a version: every column with its description, the version as metadata."""
    metadata = {_KIND_KEY: b"leaderboard", _VERSION_KEY: str(version).encode()}
    columns = [field for field in dataclasses.fields(Row) if field.metadata["since"] <= version]
    return pa.schema([_arrow_field(field) for field in columns], metadata=metadata)


def _arrow_field(field: dataclasses.Field[object]) -> pa.Field:
    annotation = str(field.type)
    nullable = annotation.endswith(" | None")
    description = {"description": field.metadata["description"]}
    return pa.field(field.name, _ARROW_TYPES[annotation.removesuffix(" | None")], nullable, description)


def table_from_rows(rows: Iterable[Row]) -> pa.Table:
    """An Arrow table with one row per record, in the order given."""
    listed, columns = list(rows), {}
    for field in schema():
        values = [getattr(row, field.name) for row in listed]
        columns[field.name] = [list(one.items()) for one in values] if field.name == "extra" else values
    return pa.Table.from_pydict(columns, schema=schema())


def upgraded(table: pa.Table) -> pa.Table:
    """A table of schema 3 with the columns added since, at their defaults; another as it is."""
    for field in dataclasses.fields(Row) if "train_norm" in table.column_names else ():
        if field.name not in table.column_names:
            column = _arrow_field(field)
            table = table.append_column(column, pa.array([field.default] * table.num_rows, column.type))
    return table


def check_schema(found: pa.Schema, where: str) -> None:
    """Raise `StorageError` unless a schema is a leaderboard's of this version or an earlier one."""
    metadata = found.metadata or {}
    if metadata.get(_KIND_KEY) != b"leaderboard":
        raise StorageError(f"{where} is not a benchbench leaderboard", hint="name a file that benchbench run wrote")
    version = metadata.get(_VERSION_KEY, b"?").decode(errors="replace")
    if version not in _READ:
        raise StorageError(
            f"{where} has schema version {version}; this benchbench reads versions up to {SCHEMA_VERSION}",
            hint="install the version of benchbench that wrote it, or a newer one",
        )
    problems = _column_problems(found, schema(int(version)))
    if problems:
        raise StorageError(
            f"{where} has wrong columns: " + "; ".join(first(problems)), hint="it was changed by another program"
        )


def _column_problems(found: pa.Schema, expected: pa.Schema) -> list[str]:
    counts, known = Counter(found.names), set(expected.names)
    missing = [f"{name!r} is missing" for name in expected.names if name not in counts]
    unknown = [f"{name!r} is unknown" for name in counts if name not in known]
    doubled = [f"{name!r} is there twice" for name, count in counts.items() if count > 1]
    if missing or unknown or doubled:
        return missing + unknown + sorted(doubled)
    return [
        f"{field.name!r} has type {found.field(field.name).type} instead of {field.type}"
        for field in expected
        if found.field(field.name).type != field.type
    ]
