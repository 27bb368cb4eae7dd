"""Models as they compete: all attacks on a model together, each example as robust as under the worst of them."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchbench.errors import StorageError
from benchbench.leaderboard.clearing import standing_flags
from benchbench.leaderboard.identity import ATTACKED, BALL, MODEL, SEED, tell_apart, values
from benchbench.leaderboard.matching import is_regression
from benchbench.leaderboard.names import component_label, defense_label, number, parse_options, trained_in
from benchbench.records import Row
from benchbench.records.arrays import Array, read_arrays
from benchbench.records.outcomes import find_malformation

_log = logging.getLogger(__name__)
Outcomes = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One trained model with all attacks that it was evaluated under.

    Attributes:
        rows: one or more rows of one model, of different attacks, sorted by attack.
        outcomes: per-example outcomes of each row, in the same order; the examples may be subsets of different sizes.
    """

    rows: tuple[Row, ...]
    outcomes: tuple[Outcomes, ...]

    @property
    def row(self) -> Row:
        """The first row, for what all of them share."""
        return self.rows[0]

    @property
    def network(self) -> str:
        """``cnn2``, ``wrn (depth=40, width=10) dropout 0.5 crop4+flip``."""
        row = self.row
        shape = {name: value for name, value in parse_options(row.architecture_options).items() if name != "dropout"}
        dropout = f" dropout {number(row.dropout)}" if row.dropout else ""
        augmentation = f" {row.augmentation}" if row.augmentation != "none" else ""
        rounded = f" ({trained_in(row)})" if row.train_rounding else ""
        return f"{component_label(row.architecture, shape)}{dropout}{augmentation}{rounded}"

    @property
    def method(self) -> str:
        """``mnist cnn2 TRADES (beta=6)``: what its runs under several seeds share, in short."""
        row = self.row
        searched = f", attacks searched in {row.rounding}" if row.rounding else ""
        return f"{row.dataset} {self.network} {defense_label(row)}{searched}"

    @property
    def label(self) -> str:
        """``mnist cnn2 TRADES (beta=6), seed 0``."""
        return f"{self.method}, seed {self.row.seed}"

    @property
    def attacks(self) -> frozenset[tuple[str, str]]:
        """Attacks that it was evaluated under: names with options."""
        return frozenset(_attack(row) for row in self.rows)

    @property
    def setting(self) -> tuple[object, ...]:
        """Equal for models that were evaluated on the same data in the same ball, by attacks of the same precision."""
        return values(self.row, BALL)

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
        """The same model on some of its test examples.

        Args:
            index: int64, increasing.
        """
        return Contender(rows=self.rows, outcomes=tuple(_on(outcomes, index) for outcomes in self.outcomes))

    @cached_property
    def worst(self) -> Mapping[str, Array]:
        """Measure to one value per example of `index`: the pointwise worst case over the attacks.

        ``test_accuracy`` and ``adv_test_accuracy`` (bool), ``test_lipschitz``, or, of regressions, ``test_mse`` and
        ``adv_test_mse``.
        """
        joined = self.on(self.index).outcomes
        first = joined[0]
        if is_regression(self.row):
            errors = {
                "test_mse": first["squared_error"],
                "adv_test_mse": _joined(joined, "adv_squared_error", np.maximum),
            }
            return errors | ({"test_lipschitz": first["lipschitz"]} if "lipschitz" in first else {})
        shares = {"test_accuracy": first["correct"], "adv_test_accuracy": _joined(joined, "robust", np.logical_and)}
        measured = [outcomes["lipschitz"] for outcomes in joined if "lipschitz" in outcomes]
        return shares | ({"test_lipschitz": measured[0]} if measured else {})

    @property
    def measure(self) -> str:
        """What it is ranked by: ``adv_test_accuracy``, or, for a regression, ``adv_test_mse``."""
        return "adv_test_mse" if is_regression(self.row) else "adv_test_accuracy"

    @property
    def single(self) -> Mapping[str, float]:
        """The measure under each attack alone, on `index`; attacks of one name also show their options."""
        joined = self.on(self.index).outcomes
        column = "adv_squared_error" if is_regression(self.row) else "robust"
        names = [row.attack for row in self.rows]
        labels = [
            row.attack
            if names.count(row.attack) == 1
            else component_label(row.attack, parse_options(row.attack_options))
            for row in self.rows
        ]
        return {label: float(np.mean(outcomes[column])) for label, outcomes in zip(labels, joined)}

    @property
    def flags(self) -> tuple[str, ...]:
        """Diagnostics that stand, see `benchbench.leaderboard.clearing`, on the examples that all attacks had."""
        return standing_flags(self.rows, [_robustness(outcomes) for outcomes in self.on(self.index).outcomes])


def _robustness(outcomes: Outcomes) -> float:
    """Robust accuracy, or, of a regression, minus the mean squared error."""
    return (
        float(np.mean(outcomes["robust"])) if "robust" in outcomes else -float(np.mean(outcomes["adv_squared_error"]))
    )


class OutcomeFiles:
    """Per-example outcomes by digest, from the first folder that has them; files are only read.

    Args:
        folders: each holds ``outcomes/<digest>.parquet``.
        on_problem: is told of damaged files, which count as missing.
    """

    def __init__(self, folders: Sequence[Path], on_problem: Callable[[str], None] = _log.warning) -> None:
        self._folders, self._on_problem = folders, on_problem
        self._known: dict[str, Outcomes | None] = {}

    def __call__(self, digest: str) -> Outcomes | None:
        """The outcomes with this digest; None when they are not here."""
        if digest and digest not in self._known:
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
    """The models among measured rows whose outcomes are at hand.

    Args:
        rows: of one leaderboard or several; failed and published rows are passed over.
        outcomes: gives per-example outcomes by digest.
    """
    models: dict[tuple[object, ...], dict[tuple[str, str], tuple[Row, Outcomes]]] = {}
    for row in rows:
        if row.source != "measured" or row.status != "ok":
            continue
        found = outcomes(row.outcomes_digest)
        if found is None or not _usable(row, found):
            continue
        attacked = models.setdefault(values(row, ATTACKED), {})
        attack = _attack(row)
        if attack not in attacked or row.n_test > attacked[attack][0].n_test:
            attacked[attack] = (row, found)
    return [_contender([attacked[name] for name in sorted(attacked)]) for attacked in models.values()]


def comparable_groups(contenders: Iterable[Contender]) -> list[list[Contender]]:
    """Models that may be ranked together: same examples, same ball, same attacks, searched in the same precision.

    For each set of attacks that some model has, all models that have these attacks, under these alone; so a model that was
    attacked in fewer ways is never held against the worst case of more. Models without a common test example form no group.
    """
    settings: dict[tuple[object, ...], list[Contender]] = {}
    for contender in contenders:
        settings.setdefault(contender.setting, []).append(contender)
    groups = []
    for members in settings.values():
        known = {member.attacks for member in members}
        for attacks in sorted(known, key=lambda chosen: (-len(chosen), json.dumps(sorted(chosen)))):
            groups.append(on_common_examples([m.under(attacks) for m in members if attacks <= m.attacks]))
    return [group for group in groups if len(group[0].index)]


def labels(contenders: Sequence[Contender]) -> list[str]:
    """A label of each model; those that would be called the same also show what tells them apart."""
    return tell_apart([one.label for one in contenders], [one.row for one in contenders], MODEL)


def label_runs(methods: Sequence[Sequence[Contender]]) -> list[str]:
    """A label of each method, from its runs: of one run with its seed, of several with their number.

    Methods that would be called the same also show what tells them apart.
    """
    first = [runs[0] for runs in methods]
    seeds = [f"seed {runs[0].row.seed}" if len(runs) == 1 else f"{len(runs)} seeds" for runs in methods]
    names = [f"{one.method}, {text}" for one, text in zip(first, seeds)]
    return tell_apart(names, [one.row for one in first], [name for name in MODEL if name not in SEED])


def on_common_examples(contenders: Sequence[Contender]) -> list[Contender]:
    """The models on the test examples that all of them were evaluated on."""
    common = functools.reduce(np.intersect1d, [contender.index for contender in contenders])
    return [contender.on(common) for contender in contenders]


def _attack(row: Row) -> tuple[str, str]:
    return row.attack, row.attack_options


def _contender(found: list[tuple[Row, Outcomes]]) -> Contender:
    return Contender(rows=tuple(row for row, _ in found), outcomes=tuple(outcomes for _, outcomes in found))


def _on(outcomes: Outcomes, index: Array) -> Outcomes:
    chosen = np.isin(outcomes["index"], index)
    return outcomes if chosen.all() else {name: column[chosen] for name, column in outcomes.items()}


def _joined(outcomes: Sequence[Outcomes], column: str, join: np.ufunc) -> Array:
    return np.asarray(join.reduce([each[column] for each in outcomes]))


def _usable(row: Row, outcomes: Outcomes) -> bool:
    needed = {"squared_error", "adv_squared_error"} if is_regression(row) else {"correct", "robust"}
    return {"index"} | needed <= outcomes.keys()
