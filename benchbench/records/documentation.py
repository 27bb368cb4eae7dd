"""The page that documents the leaderboard's columns, written from the schema."""

from __future__ import annotations

from benchbench.records.schema import SCHEMA_VERSION, schema

_INTRODUCTION = """# The leaderboard's columns

One Parquet file per suite, one row per cell, schema version {version}. Accuracies are fractions in [0, 1]; a measure is null
where it was not taken. The description of each column is also in the file, as metadata of its field. This page is written from
the schema; after a change of `benchbench/records/row.py` renew it with

    python -c "from benchbench.records.documentation import columns_page as p; print(p(), end='')" > docs/leaderboard-format.md

| column | type | null | meaning |
| --- | --- | --- | --- |
"""


def columns_page() -> str:
    """The page in Markdown."""
    lines = [
        f"| `{field.name}` | {field.type} | {'yes' if field.nullable else 'no'} | {_description(field.metadata)} |\n"
        for field in schema()
    ]
    return _INTRODUCTION.format(version=SCHEMA_VERSION) + "".join(lines)


def _description(metadata: dict[bytes, bytes]) -> str:
    return metadata[b"description"].decode()
