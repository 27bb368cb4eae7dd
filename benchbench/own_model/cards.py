"""Read a model card: what a model's authors state about it, from a TOML or JSON file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

from benchbench.errors import DataError, StorageError
from benchbench.records.cards import card_text
from benchbench.records.disk import read_bytes
from benchbench.settings import AnyPath

Card = Mapping[str, object] | AnyPath
_LARGEST = 2**20  # bytes of a file


def read_card(card: Card) -> str:
    """The content of the column ``card``; StorageError without the file, DataError if unfit."""
    if isinstance(card, Mapping):
        return card_text(card)
    path = Path(card)
    content = read_bytes(path)
    if content is None:
        raise StorageError(
            f"there is no model card {path}", hint="a TOML or JSON file with title, authors, licence, ..."
        )
    try:
        if len(content) > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST / 2**20:.0f} MiB")
        text = content.decode()
        facts = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        if not isinstance(facts, dict):
            raise ValueError(f"it holds a {type(facts).__name__}, expected names and facts")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no model card: {' '.join(str(error).split())[:200]}") from error
    return card_text(facts)
