"""Contenders: a model with all attacks on it; each example counts by the worst of them."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchbench.cell.filters import parse_options
from benchbench.errors import StorageError
from benchbench.leaderboard import names
from benchbench.leaderboard.clearing import standing_flags
from benchbench.leaderboard.identity import ATTACKED, BALL, METHOD, MODEL, grouped, tell_apart, values
from benchbench.leaderboard.matching import is_regression, measure_of
from benchbench.records import Row, Rows
from benchbench.records.arrays import Array, read_arrays
from benchbench.records.disk import file_names
from benchbench.records.outcomes import find_malformation

_log = logging.getLogger(__name__)
Outcomes = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One trained model with all attacks that it was evaluated under."""

    rows: tuple[Row, ...]  # of the model, at least one, sorted by attack
    outcomes: tuple[Outcomes, ...]  # per-example outcomes of each row; rows may have different subsets of the examples

    @property
    def row(self) -> Row:
        """The first row, for columns that all rows share."""
        return self.rows[0]

    @property
    def network(self) -> str:
        """``cnn2``, ``wrn (depth=40, width=10) dropout 0.5 crop4+flip``."""
        row = self.row
        rounded = f"({names.trained_in(row)})" if row.train_rounding else ""
        parts = (names.network_label(row), names.dropout_label(row), names.augmentation_label(row), rounded)
        return " ".join(part for part in parts if part)

    @property
    def method(self) -> str:
        """``mnist cnn2 TRADES (beta=6)``: equal for its runs under several seeds."""
        searched = f", attacks {names.searched_in(self.row)}" if self.row.rounding else ""
        return f"{self.row.dataset} {self.network} {names.defense_label(self.row)}{searched}"

    @property
    def label(self) -> str:
        """``mnist cnn2 TRADES (beta=6), seed 0``."""
        return f"{self.method}, {names.seed_label(self.row)}"

    @property
    def attacks(self) -> frozenset[tuple[str, str]]:
        """Names and options of the attacks that it was evaluated under."""
        return frozenset(_attack(row) for row in self.rows)

    @property
    def setting(self) -> tuple[object, ...]:
        """Equal for models evaluated on the same data and ball, by attacks of the same precision."""
        return values(self.row, BALL)

    @property
    def stated(self) -> Mapping[str, object]:
        """The known columns that must be equal for a comparison.

        No protocol and profile bind a model that was trained elsewhere; it counts as one that has not seen the test set.
        """
        known = dict(zip(BALL, self.setting))
        if self.row.trained_elsewhere:
            known |= {"profile": None, "protocol": None, "trained_on": "train"}
        return {name: value for name, value in known.items() if value is not None}

    def under(self, attacks: Iterable[tuple[str, str]]) -> Contender:
        """The same model under some of its attacks."""
        chosen = frozenset(attacks)
        kept = [i for i, row in enumerate(self.rows) if _attack(row) in chosen]
        return Contender(rows=tuple(self.rows[i] for i in kept), outcomes=tuple(self.outcomes[i] for i in kept))

    @cached_property
    def index(self) -> Array:
        """int64 (n,), increasing: the test examples that every attack was run on."""
        return functools.reduce(np.intersect1d, [outcomes["index"] for outcomes in self.outcomes])

    def on(self, index: Array) -> Contender:
        """The same model on some of its test examples; `index` is int64 and increasing."""
        pairs = [(found, np.isin(found["index"], index)) for found in self.outcomes]
        kept = (
            found if chosen.all() else {name: one[chosen] for name, one in found.items()} for found, chosen in pairs
        )
        return Contender(rows=self.rows, outcomes=tuple(kept))

    @cached_property
    def worst(self) -> Mapping[str, Array]:
        """By measure (``adv_test_accuracy``, ...), each example's worst value over the attacks."""
        shared = self.on(self.index).outcomes
        first = shared[0]
        if is_regression(self.row):
            attacked = _worst(shared, "adv_squared_error", np.maximum)
            errors = {"test_mse": first["squared_error"], "adv_test_mse": attacked}
            return errors | ({"test_lipschitz": first["lipschitz"]} if "lipschitz" in first else {})
        shares = {"test_accuracy": first["correct"], "adv_test_accuracy": _worst(shared, "robust", np.logical_and)}
        measured = [outcomes["lipschitz"] for outcomes in shared if "lipschitz" in outcomes]
        return shares | ({"test_lipschitz": measured[0]} if measured else {})

    @property
    def measure(self) -> str:
        """The measure that ranks it: ``adv_test_accuracy``, or, for a regression, ``adv_test_mse``."""
        return measure_of(self.row)

    @property
    def single(self) -> Mapping[str, float]:
        """The measure on `index` under each attack alone; attacks of one name also show options."""
        short = [row.attack for row in self.rows]
        full = [names.component_label(row.attack, parse_options(row.attack_options)) for row in self.rows]
        labels = [name if short.count(name) == 1 else label for name, label in zip(short, full)]
        return dict(zip(labels, self._means()))

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags that stand (`benchbench.leaderboard.clearing`) on examples that all attacks share."""
        sign = -1.0 if is_regression(self.row) else 1.0
        return standing_flags(self.rows, [sign * mean for mean in self._means()])

    def _means(self) -> list[float]:
        """The measure under each attack alone, on `index`."""
        column = "adv_squared_error" if is_regression(self.row) else "robust"
        return [float(np.mean(outcomes[column])) for outcomes in self.on(self.index).outcomes]


class OutcomeFiles:
    """Per-example outcomes by digest, of the first folder with them; damaged ones are missing."""

    def __init__(self, folders: Sequence[Path], on_problem: Callable[[str], None] = _log.warning) -> None:
        self._folders, self._on_problem = folders, on_problem
        self._known: dict[str, Outcomes | None] = {}

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset().union(*(file_names(folder / "outcomes") for folder in self._folders))

    def has(self, digest: str) -> bool:
        """Whether a folder has a file of these outcomes, which may be damaged."""
        return f"{digest}.parquet" in self._names

    def __call__(self, digest: str) -> Outcomes | None:
        """The outcomes with this digest; None if no folder has them."""
        if self.has(digest) and digest not in self._known:
            self._known[digest] = self._read(digest)
        return self._known.get(digest)

    def _read(self, digest: str) -> Outcomes | None:
        for folder in self._folders:
            try:
                found = read_arrays(folder / "outcomes" / f"{digest}.parquet", digest)
            except StorageError as error:
                self._on_problem(error.message)
                continue
            if found is None:
                continue
            if problem := find_malformation(found):
                self._on_problem(f"the outcomes {digest[:12]} in {folder} are malformed: {problem}")
                continue
            return found
        return None


def find_contenders(rows: Iterable[Row], outcomes: Callable[[str], Outcomes | None]) -> list[Contender]:
    """The finished, measured models among rows whose outcomes `outcomes` returns by digest."""
    listed, usable, known = Rows.of(rows), list[Row](), dict[str, Outcomes]()
    finished = listed.where(listed.having("source", "measured") & listed.having("status", "ok"))
    for row in finished.where(finished.each(lambda digest: outcomes(digest) is not None, "outcomes_digest")):
        found = outcomes(row.outcomes_digest)
        needed = {"squared_error", "adv_squared_error"} if is_regression(row) else {"correct", "robust"}
        if found is not None and {"index"} | needed <= found.keys():
            usable.append(row)
            known[row.outcomes_digest] = found
    return [
        Contender(rows=tuple(model.values()), outcomes=tuple(known[row.outcomes_digest] for row in model.values()))
        for model in by_attack(usable).values()
    ]


def by_attack(rows: Iterable[Row]) -> dict[tuple[object, ...], dict[tuple[str, str], Row]]:
    """The rows of each model by attack, sorted; of several the one with the most examples.

    The key of a model is the values of `ATTACKED`.
    """
    models: dict[tuple[object, ...], dict[tuple[str, str], Row]] = {}
    for row in rows:
        attacked = models.setdefault(values(row, ATTACKED), {})
        if row.n_test > attacked.setdefault(_attack(row), row).n_test:
            attacked[_attack(row)] = row
    return {key: dict(sorted(attacked.items())) for key, attacked in models.items()}


def comparable_groups(contenders: Iterable[Contender]) -> list[list[Contender]]:
    """Groups of models that may be ranked: same examples, ball, attacks and search precision.

    Each set of attacks that some model has gives a group: all models that have these attacks, under these alone. So a model
    with fewer attacks is never compared with the worst case over more. Models without a common example form no group.
    """
    groups = []
    for members in grouped(contenders, lambda one: one.setting).values():
        known = {member.attacks for member in members}
        for attacks in sorted(known, key=lambda chosen: (-len(chosen), json.dumps(sorted(chosen)))):
            groups.append(on_common_examples([m.under(attacks) for m in members if attacks <= m.attacks]))
    return [group for group in groups if len(group[0].index)]


def labels(contenders: Sequence[Contender]) -> list[str]:
    """Distinct labels of the models."""
    return tell_apart([one.label for one in contenders], [one.row for one in contenders], MODEL)


def label_runs(methods: Sequence[Sequence[Contender]]) -> list[str]:
    """Distinct labels of methods, each given by its runs; with the seed or the number of runs."""
    first = [runs[0] for runs in methods]
    seeds = [names.seed_label(runs[0].row) if len(runs) == 1 else f"{len(runs)} seeds" for runs in methods]
    titles = [f"{one.method}, {text}" for one, text in zip(first, seeds)]
    return tell_apart(titles, [one.row for one in first], METHOD)


def on_common_examples(contenders: Sequence[Contender]) -> list[Contender]:
    """The models on the test examples that all of them share."""
    common = functools.reduce(np.intersect1d, [contender.index for contender in contenders])
    return [contender.on(common) for contender in contenders]


def _attack(row: Row) -> tuple[str, str]:
    return row.attack, row.attack_options


def _worst(outcomes: Sequence[Outcomes], column: str, worse: np.ufunc) -> Array:
    return np.asarray(worse.reduce([each[column] for each in outcomes]))
