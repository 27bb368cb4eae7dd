"""The page that documents the leaderboard's columns, written from the schema."""

from __future__ import annotations

from benchbench.records.schema import SCHEMA_VERSION, schema

_INTRODUCTION = """# What the columns of a leaderboard mean

*Reference.* A leaderboard is one Parquet file per suite with one row per cell, schema version {version}. Accuracies are
fractions in [0, 1]; a measure that was not taken is null. The file itself describes each column, too, in the metadata of its
field. `CONTRIBUTING.md` says how to add one. This page is written by

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
