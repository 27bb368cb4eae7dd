"""Choose rows by column or option, as ``--only`` does: ``dataset=mnist``, ``beta=6``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from benchbench.cell.filters import OF_A_MODEL, OF_AN_ATTACK, described, matches
from benchbench.errors import UsageError, suggest
from benchbench.records import Row, Rows
from benchbench.records.arrays import Array

DESCRIBING = {
    f.name
    for f in dataclasses.fields(Row)
    if f.metadata["least"] is None and f.name not in ("cell_id", "flags", "extra")
}
"""Columns that describe a model and its evaluation."""
_NOT_PRINTED = ("suite", "profile", "protocol", "experiment", "cell_id", "model_id", "seed", "source")


def having(rows: Rows, name: str, value: str, options: tuple[str, ...] = OF_A_MODEL) -> Array:
    """bool (n,): the rows with a value in a column or, under this name, in columns of options."""
    if name in DESCRIBING or name == "cell_id":
        return rows.each(lambda found: matches(value, found), name)
    return rows.each(lambda *texts: matches(value, _described(texts, options).get(name)), *options)


def narrowed(rows: Rows, only: Mapping[str, Sequence[str]]) -> Rows:
    """The rows that pass every filter: they have one of its values; UsageError if none has.

    Published rows pass the filters by what papers do not state, for instance the seed.
    """
    options = (*OF_AN_ATTACK, *OF_A_MODEL)
    chosen = np.ones(len(rows), dtype=bool)
    for key, values in only.items():
        found = {value: having(rows, key, value, options) for value in values}
        for value in (value for value, of in found.items() if not of.any()):
            raise _no_match(rows, key, value, options)
        chosen &= np.logical_or.reduce(list(found.values())) | (
            rows.having("source", "published") & (key in _NOT_PRINTED)
        )
    if not chosen.any():
        raise UsageError("--only: no row matches all of the filters", hint="drop one of them")
    return rows.where(chosen)


def _no_match(rows: Rows, key: str, value: str, options: tuple[str, ...]) -> UsageError:
    if key in DESCRIBING:
        known = {str(found) for (found,) in rows.distinct(key)[0]}
    else:
        every = [_described(texts, options) for texts in rows.distinct(*options)[0]]
        known = {str(one[key]) for one in every if key in one}
        names = DESCRIBING.union(*every)
        if not known:
            return UsageError(f"--only {key}=...: unknown column or option {key!r}", hint=suggest(key, names))
    return UsageError(f"--only {key}={value}: no row has this {key}", hint=suggest(value, known))


def _described(texts: Sequence[str], options: tuple[str, ...]) -> dict[str, object]:
    return {key: value for key, value in described(dict(zip(options, texts)), options).items() if key not in options}
