"""Ranks with tie groups: models share a rank unless the difference is significant; flagged models come after the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchbench.leaderboard.contenders import Contender, comparable_groups
from benchbench.leaderboard.matching import is_regression
from benchbench.leaderboard.pairing import SIGNIFICANCE, holm, mcnemar_p_values
from benchbench.records.arrays import Array

MEASURE = "adv_test_accuracy"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A model's place in its group.

    Attributes:
        rank: 1 plus the number of models in better tie groups.
        tied: how many models share it, this one included.
        accuracy: robust accuracy in the pointwise worst case over the attacks.
    """

    contender: Contender
    rank: int
    tied: int
    accuracy: float


def rank(contenders: Sequence[Contender]) -> tuple[Place, ...]:
    """Rank models by robust accuracy under the worst of their attacks, best first.

    In order of accuracy a model joins the tie group above it unless it is significantly worse (exact McNemar, Holm over all
    pairs) than any member: no two models of a group differ significantly. Models of neighbouring groups may or may not, for
    "not significantly different" is not transitive. Models with diagnostic flags that no attack has cleared rank below all
    without.

    Args:
        contenders: of one of the groups of `comparable_groups`, classifiers.
    """
    if not contenders:
        return ()
    robust = np.stack([contender.worst[MEASURE] for contender in contenders])
    accuracies = robust.mean(axis=1)
    different = _different(robust)
    order = sorted(
        range(len(contenders)), key=lambda i: (bool(contenders[i].flags), -accuracies[i], contenders[i].row.cell_id)
    )
    places: list[Place] = []
    for first, members in _tie_groups(order, contenders, different):
        places += [
            Place(contender=contenders[i], rank=first, tied=len(members), accuracy=float(accuracies[i]))
            for i in members
        ]
    return tuple(places)


def rank_all(contenders: Sequence[Contender]) -> list[tuple[Place, ...]]:
    """The ranking of every comparable group of classifiers, those of one model alone left out."""
    groups = comparable_groups([contender for contender in contenders if not is_regression(contender.row)])
    return [rank(group) for group in groups if len(group) > 1]


def _tie_groups(order: Sequence[int], contenders: Sequence[Contender], different: Array) -> list[tuple[int, list[int]]]:
    groups: list[tuple[int, list[int]]] = []
    for place, i in enumerate(order, start=1):
        members = groups[-1][1] if groups else []
        newly_flagged = bool(members) and bool(contenders[i].flags) and not contenders[members[0]].flags
        if not members or newly_flagged or any(different[i, j] for j in members):
            groups.append((place, [i]))
        else:
            members.append(i)
    return groups


def _different(robust: Array) -> Array:
    """bool (models, models): which pairs differ significantly."""
    upper = np.triu_indices(len(robust), k=1)
    adjusted = np.asarray(holm(mcnemar_p_values(robust)[upper].tolist()))
    different = np.zeros((len(robust), len(robust)), dtype=bool)
    different[upper] = adjusted < SIGNIFICANCE
    return different | different.T
