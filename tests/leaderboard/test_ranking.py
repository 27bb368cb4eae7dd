"""Ranks: ties unless significant, flagged models last, worst case over attacks only."""

from __future__ import annotations

import numpy as np
from contender_samples import contender, share

from benchbench.leaderboard.contenders import comparable_groups
from benchbench.leaderboard.ranking import rank, rank_all


def ranks(*contenders: object) -> dict[str, tuple[int, int]]:
    return {p.contender.row.model_id: (p.rank, p.tied) for p in rank(contenders)}  # type: ignore[arg-type]


def test_models_share_a_rank_unless_the_difference_is_significant() -> None:
    found = ranks(
        contender("a", ("pgd", share(90))), contender("b", ("pgd", share(88))), contender("c", ("pgd", share(50)))
    )
    assert found == {"a": (1, 2), "b": (1, 2), "c": (3, 1)}


def test_no_two_models_of_a_tie_group_differ_significantly() -> None:
    steps = [contender(f"m{k}", ("pgd", share(100 - 3 * k))) for k in range(6)]  # neighbours tie, the ends do not
    found = ranks(*steps)
    assert found["m0"][0] == found["m1"][0] == 1
    assert found["m5"][0] > 1


def test_flagged_model_ranks_below_all_unflagged_ones() -> None:
    found = ranks(
        contender("masked", ("pgd", share(99)), flags=("zero-gradients",)),
        contender("honest", ("pgd", share(20))),
    )
    assert found == {"honest": (1, 1), "masked": (2, 1)}


def test_flag_is_cleared_by_a_stronger_attack_alone() -> None:
    stronger = contender("model", ("pgd", share(90)), ("square", share(40)), flags=("zero-gradients",))
    weaker = contender("model", ("pgd", share(40)), ("square", share(90)), flags=("zero-gradients",))
    assert stronger.flags == ()
    assert weaker.flags == ("zero-gradients",)


def test_only_the_worst_case_over_attacks_ranks() -> None:
    found = rank(
        [
            contender("specialist", ("pgd", share(99)), ("mt", share(10))),
            contender("steady", ("pgd", share(60)), ("mt", share(60))),
        ]
    )
    assert [(p.contender.row.model_id, p.rank, p.accuracy) for p in found] == [
        ("steady", 1, 0.6),
        ("specialist", 2, 0.1),
    ]


def test_model_with_fewer_attacks_is_ranked_on_those_alone() -> None:
    both = contender("both", ("pgd", share(80)), ("mt", share(30)))
    also = contender("also", ("pgd", share(70)), ("mt", share(35)))
    one = contender("one", ("pgd", share(75)))
    groups = {
        frozenset(name for name, _ in places[0].contender.attacks): {
            p.contender.row.model_id: p.accuracy for p in places
        }
        for places in rank_all([both, also, one])
    }
    assert groups == {
        frozenset({"pgd"}): {"both": 0.8, "one": 0.75, "also": 0.7},
        frozenset({"pgd", "mt"}): {"also": 0.35, "both": 0.3},
    }


def test_other_profiles_and_threats_are_never_ranked_together() -> None:
    first = contender("first", ("pgd", share(80)))
    others = [
        contender("paper", ("pgd", share(80)), profile="paper"),
        contender("wide", ("pgd", share(80)), epsilon=0.3),
        contender("other-data", ("pgd", share(80)), dataset_digest="cd" * 32),
    ]
    assert len(comparable_groups([first, *others])) == 4
    assert rank_all([first, *others]) == []


def test_ranking_does_not_depend_on_the_order_given() -> None:
    generator = np.random.default_rng(1)
    models = [contender(f"m{k}", ("pgd", generator.uniform(size=200) < 0.5 + k / 20)) for k in range(8)]
    assert ranks(*models) == ranks(*reversed(models))
