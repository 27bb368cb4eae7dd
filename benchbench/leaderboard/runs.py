"""Rows that differ in the seed alone, and their measures as mean, deviation and interval."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from benchbench.cell.filters import parse_options
from benchbench.cell.reading import completed
from benchbench.leaderboard.identity import RUNS
from benchbench.leaderboard.spread import DIFFERENCES, NO_SPREAD, difference_ends, possible, quantile
from benchbench.records import Row, Rows
from benchbench.records.arrays import Array

_AT_ONCE = 4096  # configurations, each a kilobyte
_COLUMNS = frozenset(field.name for field in dataclasses.fields(Row))


def runs_of(rows: Rows) -> Array:
    """int64 (n,): the first place of each row's run: measured rows equal but for the seed.

    Equal is the whole configuration; a second row of a seed begins another run.
    """
    found = np.arange(len(rows))
    codes = rows.codes(*RUNS)
    several = (np.bincount(codes)[codes] > 1) & rows.having("source", "measured") if len(rows) else codes > 0
    places = np.flatnonzero(several)
    chosen = rows.take(places)
    _, first, numbers = np.unique(codes[places], return_index=True, return_inverse=True)
    seeds = chosen.values("seed")
    alike = np.ones(len(first), dtype=bool)  # codes with one configuration, and each seed once
    alike[numbers[~_as_first(numbers, seeds, _configurations(chosen))]] = False
    again = np.unique(np.stack([numbers, chosen.codes("seed")]), axis=1, return_counts=True)
    alike[again[0][0][again[1] > 1]] = False
    found[places] = places[first[numbers]]
    begun: dict[tuple[object, ...], int] = {}
    repeated: Counter[tuple[object, ...]] = Counter()
    parsed: dict[tuple[str, str], str] = {}
    mixed = np.flatnonzero(~alike[numbers])
    for at, text in zip(mixed.tolist(), _configurations(chosen.take(mixed))):
        around = _around_seed(text, seeds[at])
        key = (numbers[at], parsed.get(around) or parsed.setdefault(around, _without_seed(text)))
        found[places[at]] = begun.setdefault((*key, repeated[(*key, seeds[at])]), places[at])
        repeated[(*key, seeds[at])] += 1
    return found


def _configurations(rows: Rows) -> Iterator[str]:
    for start in range(0, len(rows), _AT_ONCE):
        yield from rows[start : start + _AT_ONCE].values("configuration")


def _as_first(numbers: Array, seeds: list[int | None], texts: Iterable[str]) -> Array:
    """bool (n,): whether a configuration is that of its number's first row, but for the seed."""
    around: dict[int, tuple[str, str]] = {}
    found = []
    for number, seed, text in zip(numbers.tolist(), seeds, texts):
        if number not in around:
            around[number] = _around_seed(text, seed)
        before, after = around[number]
        found.append(text == f"{before}{seed}{after}")
    return np.array(found, dtype=bool)


def _around_seed(configuration: str, seed: int | None) -> tuple[str, str]:
    """What is before and after the seed, the last one in the sorted JSON: the training's."""
    before, name, after = configuration.rpartition('"seed":')
    return before + name, after.removeprefix(str(seed))


def _without_seed(configuration: str) -> str:
    document = parse_options(configuration)
    with suppress(KeyError, TypeError, AttributeError):  # it is not a cell's
        document = completed(document)
    if isinstance(training := document.get("training"), dict):
        document = {**document, "training": {**training, "seed": None}, "experiment": None}
    return json.dumps(document, sort_keys=True)


class Measured(NamedTuple):
    """A measure of each run: float64 (n,), NaN where there is none."""

    mean: Array
    deviation: Array  # sample standard deviation over seeds, of several
    low: Array  # ends of a 95% interval: that of the row or, of several seeds, Student's t of their mean
    high: Array


class Runs:
    """The runs of rows that stand run by run, each a line of a table."""

    def __init__(self, rows: Rows, runs: Array) -> None:
        """Take rows, and int64 (n,) numbers that change where a run begins."""
        self.rows = rows
        self.starts = np.flatnonzero(np.diff(runs, prepend=-1))

    def __len__(self) -> int:
        return len(self.starts)

    @cached_property
    def first(self) -> Rows:
        """The first row of each run."""
        return self.rows.take(self.starts)

    @property
    def ends(self) -> list[int]:
        """The place after the last row of each run."""
        return [*self.starts[1:].tolist(), len(self.rows)]

    def head(self, count: int) -> Runs:
        """The first runs, at least one."""
        end = self.ends[count - 1]
        return Runs(self.rows[:end], np.searchsorted(self.starts, np.arange(end), side="right"))

    def any(self, chosen: Array) -> Array:
        """bool (runs,): whether a bool (rows,) is true anywhere in a run."""
        return np.logical_or.reduceat(chosen, self.starts) if len(self) else chosen

    def values(self, name: str) -> Iterator[list[Any]]:
        """The values of a column, those of one run together."""
        found = self.rows.values(name)
        return (found[start:end] for start, end in zip(self.starts.tolist(), self.ends))

    @cached_property
    def seeds(self) -> Array:
        """int64 (runs,): the finished rows of each run."""
        finished = ~self.rows.having("status", "failed")
        return np.add.reduceat(finished, self.starts, dtype=np.int64) if len(self) else self.starts

    def measured(self, key: str) -> Measured:
        """A column, or a value in the rows' `extra`."""
        if not len(self):
            return Measured(*[np.empty(0)] * 4)
        values = self._values(key)
        known = np.isfinite(values)
        counts = np.add.reduceat(known, self.starts, dtype=np.float64)
        top, bottom = np.fmax.reduceat(values, self.starts), np.fmin.reduceat(values, self.starts)
        several = counts > 1
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            mean = np.add.reduceat(np.nan_to_num(values), self.starts) / counts
            off = values - np.repeat(mean, np.diff(self.starts, append=len(values)))
            deviation = np.sqrt(np.add.reduceat(np.nan_to_num(off**2, posinf=np.inf), self.starts) / (counts - 1))
            deviation[np.isinf(deviation)] = np.nan  # a square beyond float64
        low, high = (np.fmax.reduceat(end, self.starts) for end in self._ends(key, known))
        deviation[~several] = np.nan
        if several.any():
            spread = top - bottom > NO_SPREAD * np.fmax(abs(top), abs(bottom))
            half = np.where(spread, quantile(counts - 1) * deviation / np.sqrt(counts), np.nan)
            deviation = np.where(several & ~spread, 0.0, deviation)
            lowest, highest = possible(key, mean - half, mean + half)
            low, high = np.where(several, lowest, low), np.where(several, highest, high)
        beyond = np.isinf(mean)  # a sum beyond float64
        return Measured(*(np.where(beyond, np.nan, one) for one in (mean, deviation, low, high)))

    @cached_property
    def _extra_names(self) -> set[str]:
        return self.rows.names_in("extra")

    def _ends(self, key: str, known: Array) -> tuple[Array, Array]:
        """The intervals of the rows."""
        if key in DIFFERENCES and not self.rows.known("test_mse").any():
            shares = [f"{share}{end}" for share in DIFFERENCES[key] for end in ("", "_low", "_high")]
            low, high = difference_ends(*map(self._values, shares))
        else:
            ends = (f"{key}_{end}" for end in ("low", "high"))
            low, high = (self._values(end) for end in ends)
        either = known & np.isfinite(low) & np.isfinite(high)
        return np.where(either, low, np.nan), np.where(either, high, np.nan)

    def _values(self, key: str) -> Array:
        if key in _COLUMNS:
            return self.rows.numbers(key)
        if key not in self._extra_names:
            return np.full(len(self.rows), np.nan)
        return np.array([dict(extra).get(key, np.nan) for extra in self.rows.values("extra")], dtype=np.float64)
