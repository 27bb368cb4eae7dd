"""The page that documents the leaderboard's columns, written from the schema."""

from __future__ import annotations

from benchbench.records.schema import SCHEMA_VERSION, schema

_INTRODUCTION = """# The leaderboard's columns

One Parquet file per suite, one row per cell, schema version {version}. Accuracies are fractions in [0, 1]; a measure that was
not taken is null. The file also holds the description of each column, as metadata of its field. This page is generated from
the schema; after a change of `benchbench/records/row.py` generate it again with

    python -c "from benchbench.records.documentation import columns_page as p; print(p(), end='')" > docs/leaderboard-format.md

| column | type | null | meaning |
| --- | --- | --- | --- |
"""


def columns_page() -> str:
    """The page in Markdown."""
    lines = []
    for field in schema():
        null, description = "yes" if field.nullable else "no", field.metadata[b"description"].decode()
        lines.append(f"| `{field.name}` | {field.type} | {null} | {description} |\n")
    return _INTRODUCTION.format(version=SCHEMA_VERSION) + "".join(lines)
