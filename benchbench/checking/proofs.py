"""What checks each column of a row, and what stays a claim."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from importlib.resources import files
from typing import NamedTuple

from benchbench.records import Row


class Proof(NamedTuple):
    """What columns are checked against, in Markdown; what stays a claim, with an exception."""

    columns: str  # their names, separated by spaces
    by: str
    claimed: str = ""
    unless: str = ""  # "registered": the row's suite is; "fitted": the model was, again; "attacked": it was, again


_TABLE = (files("benchbench.checking") / "proofs.toml").read_text(encoding="utf-8")
PROOFS = tuple(Proof(**one) for one in tomllib.loads(_TABLE)["proof"])
"""Every column of `Row`, once."""


def claims_of(row: Row, checked: Collection[str]) -> dict[str, str]:
    """What stays a claim about each column that states something, if all evidence is here."""
    proofs = [proof for proof in PROOFS if proof.claimed and proof.unless not in checked]
    stated = ((column, proof.claimed) for proof in proofs for column in proof.columns.split())
    return {column: claimed for column, claimed in stated if getattr(row, column) is not None}
