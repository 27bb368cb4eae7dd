"""Rank models: they share ranks unless significantly different; flagged ones come last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchbench.comparison.contenders import Contender, comparable_groups
from benchbench.comparison.pairing import SIGNIFICANCE, holm, mcnemar_p_values, paired_t_p_values
from benchbench.contract.seeds import derive_seed
from benchbench.leaderboard.spread import interval_of
from benchbench.records import Interval, accuracy_interval, mean_interval
from benchbench.records.arrays import Array


@dataclass(frozen=True, kw_only=True)
class Place:
    """A model's place in its group."""

    contender: Contender
    rank: int  # 1 plus the number of models in better tie groups
    tied: int  # number of models that share it, this one included
    value: float  # robust accuracy, or mean squared error, in the pointwise worst case over the attacks
    interval: Interval | None  # 95%, Wilson's or bootstrap; None where undefined


def rank(contenders: Sequence[Contender], flagged: Sequence[bool] | None = None) -> tuple[Place, ...]:
    """Rank a group of `comparable_groups` by robustness under the worst attack, best first.

    In that order a model joins the tie group above it unless it is significantly worse than any member: no two models of a
    group differ significantly. Models of neighbouring groups may or may not, because "not significantly different" is not
    transitive. Robust accuracies: exact McNemar tests. Squared errors of regressions: paired t-tests of the mean over
    thousands of examples. Holm's correction is over all pairs. Models with flags that stand (see
    `benchbench.leaderboard.clearing`) rank below all others; `flagged` says which have them if further attacks decide that.
    """
    if not contenders:
        return ()
    flagged = [bool(one.flags) for one in contenders] if flagged is None else flagged
    measure = contenders[0].measure
    outcomes = np.stack([contender.worst[measure] for contender in contenders])
    values = outcomes.mean(axis=1, dtype=np.float64)
    different = _different(outcomes)
    better = -values if outcomes.dtype == np.bool_ else values  # high accuracies and low errors are better
    keys = [(doubted, at, one.row.cell_id) for doubted, one, at in zip(flagged, contenders, better)]
    order = sorted(range(len(contenders)), key=keys.__getitem__)
    return tuple(
        Place(
            contender=contenders[i],
            rank=first,
            tied=len(members),
            value=float(values[i]),
            interval=_interval(contenders[i], outcomes[i]),
        )
        for first, members in tie_groups(order, flagged, different.tolist())
        for i in members
    )


def rank_all(contenders: Sequence[Contender]) -> list[tuple[Place, ...]]:
    """The ranking of every comparable group of several models."""
    return [rank(group) for group in comparable_groups(contenders) if len(group) > 1]


def _interval(contender: Contender, outcomes: Array) -> Interval | None:
    if outcomes.dtype == np.bool_:
        return accuracy_interval(int(outcomes.sum()), len(outcomes))
    measured = interval_of(contender.row, contender.measure) if len(contender.rows) == 1 else None
    return measured or mean_interval(outcomes, derive_seed(0, "rank"))


def tie_groups(
    order: Sequence[int], flagged: Sequence[bool], different: Sequence[Sequence[bool]]
) -> list[tuple[int, list[int]]]:
    """Ranks and their models, numbered as in `order`: the groups that `rank` describes."""
    groups: list[tuple[int, list[int]]] = []
    for place, i in enumerate(order, start=1):
        members = groups[-1][1] if groups else []
        newly_flagged = bool(members) and flagged[i] and not flagged[members[0]]
        if not members or newly_flagged or any(different[i][j] for j in members):
            groups.append((place, [i]))
        else:
            members.append(i)
    return groups


def _different(outcomes: Array) -> Array:
    """bool (models, models): which pairs differ significantly."""
    test = mcnemar_p_values if outcomes.dtype == np.bool_ else paired_t_p_values
    upper = np.triu_indices(len(outcomes), k=1)
    adjusted = np.asarray(holm(test(outcomes)[upper].tolist()))
    different = np.zeros((len(outcomes), len(outcomes)), dtype=bool)
    different[upper] = adjusted < SIGNIFICANCE
    return different | different.T
