"""Croissant 1.0 metadata (mlcommons.org/croissant) of a leaderboard, for catalogues."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa

from benchbench.errors import StorageError
from benchbench.leaderboard.files import read_rows
from benchbench.records.disk import read_bytes

_TYPES = {pa.string(): "sc:Text", pa.int64(): "sc:Integer", pa.float64(): "sc:Float"}
_CONTEXT: dict[str, object] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "recordSet": "cr:recordSet",
    "sc": "https://schema.org/",
    "source": "cr:source",
}


def croissant(path: Path, *, url: str = "", licence: str = "", version: str = "1.0.0") -> dict[str, object]:
    """The metadata as a JSON-LD document.

    Each column of text or numbers is a field with its description; `flags` and `extra`, which hold several values a row, are
    none. Missing values stay missing.

    Args:
        path: a leaderboard, named in the document by its file name, with its SHA-256.
        url: where the file is published, and licence, the URL of its licence; left out where empty.
        version: of the published file, as ``MAJOR.MINOR.PATCH``.

    Raises:
        StorageError: the file is missing, or no leaderboard.
    """
    rows, content = read_rows(path), read_bytes(path)
    if content is None or not len(rows):
        raise StorageError(f"{path} has no rows to describe")
    suite = rows[0].suite
    file = {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": url or path.name,
        "encodingFormat": "application/x-parquet",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    facts = {"url": url, "license": licence}
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": suite,
        "description": f"Leaderboard of the suite {suite} by benchbench: {len(rows)} rows, one for each model and attack",
        "version": version,
        "distribution": [file],
        "recordSet": [
            {"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": _fields(rows.table, path.name)}
        ],
        **{name: fact for name, fact in facts.items() if fact},
    }


def _fields(table: pa.Table, file: str) -> list[dict[str, object]]:
    return [
        {
            "@type": "cr:Field",
            "@id": f"rows/{column.name}",
            "name": column.name,
            "description": (column.metadata or {}).get(b"description", b"").decode(),
            "dataType": _TYPES[column.type],
            "source": {"fileObject": {"@id": file}, "extract": {"column": column.name}},
        }
        for column in table.schema
        if column.type in _TYPES
    ]
