"""Ranks: ties unless significant, flagged models last, worst case over attacks only."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from contender_samples import contender, outcomes_of, share
from sample_rows import make_row

from benchbench.comparison.choosing import by_method, methods
from benchbench.comparison.contenders import Contender, comparable_groups, find_contenders
from benchbench.comparison.ranking import rank, rank_all
from benchbench.contract.seeds import derive_seed
from benchbench.evaluation.diagnostics import FLAGS
from benchbench.leaderboard.clearing import SHORTFALLS
from benchbench.leaderboard.identity import distinct_labels
from benchbench.records import Interval, mean_interval
from benchbench.records.arrays import Array

STANDARD = {"steps": 100, "targets": 9, "queries": 5000}


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


def test_flagged_models_tie_with_each_other_but_never_with_an_unflagged_one() -> None:
    found = ranks(
        contender("masked", ("pgd", share(50)), flags=("zero-gradients",)),
        contender("honest", ("pgd", share(50))),
        contender("noisy", ("pgd", share(49)), flags=("random-model",)),
    )
    assert found == {"honest": (1, 1), "masked": (2, 2), "noisy": (2, 2)}


def test_flag_is_cleared_by_a_stronger_autoattack_alone() -> None:
    stronger = contender("model", ("pgd", share(90)), ("autoattack", share(40)), flags=("zero-gradients",))
    weaker = contender("model", ("pgd", share(40)), ("autoattack", share(90)), flags=("zero-gradients",))
    assert with_options(stronger, STANDARD).flags == ()
    assert with_options(weaker, STANDARD).flags == ("zero-gradients",)


@pytest.mark.parametrize("attack", ["square", "apgd", "mt-20", "noise", "foolbox"])
@pytest.mark.parametrize("flag", ["zero-gradients", "random-search-succeeds", "random-model"])
def test_no_other_attack_clears_a_flag(attack: str, flag: str) -> None:
    model = contender("model", ("pgd-10", share(90)), (attack, share(1)), flags=(flag,))
    assert with_options(model, STANDARD).flags == (flag,)


@pytest.mark.parametrize("option", ["steps", "targets", "queries"])
def test_cut_down_autoattack_clears_nothing(option: str) -> None:
    model = contender("model", ("pgd-10", share(90)), ("autoattack", share(40)), flags=("zero-gradients",))
    assert with_options(model, {**STANDARD, option: STANDARD[option] - 1}).flags == ("zero-gradients",)
    assert with_options(model, {}).flags == ("zero-gradients",)


def test_autoattack_that_is_flagged_or_rounds_clears_nothing() -> None:
    model = contender("model", ("autoattack", share(40)), ("pgd-10", share(90)), flags=("random-model",))
    assert with_options(model, STANDARD).flags == ("random-model",)
    rounded = contender(
        "model", ("pgd-10", share(90)), ("autoattack", share(40)), flags=("zero-gradients",), precision="bf16"
    )
    assert with_options(rounded, STANDARD).flags == ("zero-gradients",)


def test_weak_attack_beside_the_protocols_casts_no_doubt_on_a_sound_model() -> None:
    sound = contender("model", ("noise", share(95)), ("pgd-10", share(70)), flags=("random-search-succeeds",))
    alone = contender("model", ("noise", share(95)), ("square", share(70)), flags=("random-search-succeeds",))
    gradients = contender("model", ("apgd", share(95)), ("pgd-10", share(70)), flags=("zero-gradients",))
    assert sound.flags == ()
    assert alone.flags == ("random-search-succeeds",)
    assert gradients.flags == ("zero-gradients",)


def test_shortfalls_are_flags_of_the_diagnostics() -> None:
    assert FLAGS.keys() >= SHORTFALLS


def with_options(model: Contender, options: Mapping[str, int]) -> Contender:
    """The same model, with these options of all its attacks."""
    text = json.dumps({"variant": "equation", **options})
    rows = tuple(dataclasses.replace(row, attack_options=text) for row in model.rows)
    return Contender(rows=rows, outcomes=model.outcomes)


def test_only_the_worst_case_over_attacks_ranks() -> None:
    found = rank(
        [
            contender("specialist", ("pgd", share(99)), ("mt", share(10))),
            contender("steady", ("pgd", share(60)), ("mt", share(60))),
        ]
    )
    assert [(p.contender.row.model_id, p.rank, p.value) for p in found] == [
        ("steady", 1, 0.6),
        ("specialist", 2, 0.1),
    ]


def test_model_with_fewer_attacks_is_ranked_on_those_alone() -> None:
    both = contender("both", ("pgd", share(80)), ("mt", share(30)))
    also = contender("also", ("pgd", share(70)), ("mt", share(35)))
    one = contender("one", ("pgd", share(75)))
    groups = {
        frozenset(name for name, _ in places[0].contender.attacks): {p.contender.row.model_id: p.value for p in places}
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


def test_models_without_a_common_example_are_not_ranked() -> None:
    one, other = contender("one", ("pgd", share(3, n=4))), contender("other", ("pgd", share(3, n=4)))
    elsewhere = Contender(rows=other.rows, outcomes=(outcomes_of(share(3, n=4), index=np.arange(10, 14)),))
    assert rank_all([one, elsewhere]) == []


def test_one_model_read_in_two_balls_is_two_contenders() -> None:
    rows = [
        make_row(cell_id=f"c{epsilon}", model_id="a", epsilon=epsilon, outcomes_digest=str(robust).zfill(64))
        for epsilon, robust in ((0.1, 80), (0.2, 40))
    ]
    found = find_contenders(rows, lambda digest: outcomes_of(share(int(digest))))
    assert {c.row.epsilon: c.worst["adv_test_accuracy"].mean() for c in found} == {0.1: 0.8, 0.2: 0.4}


def test_of_two_rows_of_one_attack_the_one_with_more_examples_counts() -> None:
    few = make_row(cell_id="few", model_id="a", n_test=20, outcomes_digest="20".zfill(64))
    many = make_row(cell_id="many", model_id="a", n_test=100, outcomes_digest="99".zfill(64))
    for rows in ([few, many], [many, few]):
        (found,) = find_contenders(rows, lambda digest: outcomes_of(share(9, n=int(digest))))
        assert [row.cell_id for row in found.rows] == ["many"]
        assert found.worst["adv_test_accuracy"].mean() == 9 / 99


def test_worst_case_of_a_regression_is_the_larger_error_of_each_example() -> None:
    one, other = regression("one", np.array([1.0, 4.0])), regression("other", np.array([3.0, 2.0]))
    rows = (one.row, dataclasses.replace(one.row, cell_id="other", attack="grid"))
    both = Contender(rows=rows, outcomes=(one.outcomes[0], other.outcomes[0]))
    assert both.worst["adv_test_mse"].tolist() == [3.0, 4.0]
    assert both.worst["test_mse"].tolist() == [0.5, 2.0]


def test_regressions_of_a_single_example_tie() -> None:
    (places,) = rank_all([regression("rough", np.array([2.0])), regression("smooth", np.array([1.0]))])
    assert {place.rank for place in places} == {1}


def test_ranking_does_not_depend_on_the_order_given() -> None:
    generator = np.random.default_rng(1)
    models = [contender(f"m{k}", ("pgd", generator.uniform(size=200) < 0.5 + k / 20)) for k in range(8)]
    assert ranks(*models) == ranks(*reversed(models))


def test_rows_whose_attacks_searched_in_another_precision_are_ranked_apart() -> None:
    found = find_contenders(
        [
            make_row(cell_id="a32", model_id="a", outcomes_digest="80".zfill(64)),
            make_row(cell_id="a16", model_id="a", outcomes_digest="95".zfill(64), precision="bf16"),
            make_row(cell_id="b32", model_id="b", outcomes_digest="70".zfill(64)),
        ],
        lambda digest: outcomes_of(share(int(digest))),
    )
    assert {c.row.cell_id: c.worst["adv_test_accuracy"].mean() for c in found} == {"a32": 0.8, "a16": 0.95, "b32": 0.7}
    (places,) = rank_all(found)
    assert [place.contender.row.cell_id for place in places] == ["a32", "b32"]
    assert "bf16" in next(c.label for c in found if c.row.precision == "bf16")


def test_models_trained_in_another_precision_are_ranked_together_and_say_so() -> None:
    """They are models like others, because robustness is judged in float32."""
    exact = contender("exact", ("pgd", share(70)))
    rounded = contender("rounded", ("pgd", share(80)), train_precision="bf16")
    (places,) = rank_all([exact, rounded])
    assert [place.contender.row.model_id for place in places] == ["rounded", "exact"]
    assert "trained in bf16" in places[0].contender.label
    assert "trained in" not in places[1].contender.label
    assert len(by_method([exact, rounded])) == 2  # not two seeds of one method


def configured(**defense: Any) -> str:
    return json.dumps({"training": {"defense": defense}})


def test_method_of_another_revision_or_other_sources_is_not_another_seed() -> None:
    models = [
        contender("model", ("pgd", share(70 + seed)), seed=seed, configuration=configured(**defense))
        for seed, defense in enumerate([{}, {}, {"revision": 2}, {"sources": "ab" * 8}])
    ]
    assert [len(found) for found in by_method(models).values()] == [2, 1, 1]
    assert [name.rpartition(", ")[2] for name in methods(models)] == ["revision 1", "revision 2", "sources abababab"]


def test_rows_that_differ_by_revision_alone_say_so() -> None:
    rows = [
        make_row(cell_id=name, configuration=configured(**code)) for name, code in (("a", {}), ("b", {"revision": 2}))
    ]
    assert distinct_labels(rows) == {"a": "Natural, revision 1", "b": "Natural, revision 2"}


def test_flag_is_cleared_on_common_examples_only() -> None:
    def model(pgd: Array, autoattack: Array) -> Contender:
        attacked = (("pgd", pgd), ("autoattack", autoattack))
        return with_options(contender("model", *attacked, flags=("zero-gradients",)), STANDARD)

    lucky = model(share(50, n=100), share(20, n=20))
    worse = model(~share(10, n=100), share(15, n=20))
    assert lucky.flags == ()  # all of the first twenty withstood both
    assert model(share(50, n=100), share(10, n=20)).flags == ()
    assert worse.rows[1].adv_test_accuracy < worse.rows[0].adv_test_accuracy  # type: ignore[operator]
    assert worse.flags == ("zero-gradients",)


def test_cleared_model_ranks_by_its_worst_case_and_uncleared_ones_stay_below() -> None:
    found = rank(
        [
            with_options(
                contender("cleared", ("pgd", share(99)), ("autoattack", share(60)), flags=("zero-gradients",)), STANDARD
            ),
            contender("masked", ("pgd", share(90)), ("autoattack", share(95)), flags=("zero-gradients",)),
            contender("honest", ("pgd", share(30)), ("autoattack", share(30))),
        ]
    )
    assert [(p.contender.row.model_id, p.rank, p.value) for p in found] == [
        ("cleared", 1, 0.6),
        ("honest", 2, 0.3),
        ("masked", 3, 0.9),
    ]


def test_regressions_rank_by_squared_error_least_first_with_ties() -> None:
    generator = np.random.default_rng(4)
    errors = generator.uniform(size=500)
    models = [
        regression("rough", errors + 1.0),
        regression("smooth", errors),
        regression("as-smooth", generator.permutation(errors)),
    ]
    (places,) = rank_all(models)
    assert {p.contender.row.model_id: (p.rank, p.tied) for p in places} == {
        "smooth": (1, 2),
        "as-smooth": (1, 2),
        "rough": (3, 1),
    }
    interval = places[0].interval
    assert interval is not None
    assert interval.low < places[0].value < interval.high


def test_interval_of_one_regression_is_its_rows_and_of_several_attacks_that_of_the_worst_case() -> None:
    """Where the row has none, it is the bootstrap's, with the seed that makes ranks repeatable."""
    model = regression("model", np.random.default_rng(5).uniform(size=50))
    bare = regression("bare", np.random.default_rng(6).uniform(size=50))
    row = dataclasses.replace(model.row, adv_test_mse=0.5, extra={"adv_test_mse_low": 0.25, "adv_test_mse_high": 0.75})
    own = Contender(rows=(row,), outcomes=model.outcomes)
    twice = Contender(rows=(row, dataclasses.replace(row, cell_id="other", attack="grid")), outcomes=model.outcomes * 2)
    for one, expected in (
        (own, Interval(low=0.25, high=0.75)),
        (bare, mean_interval(bare.worst["adv_test_mse"], derive_seed(0, "rank"))),
        (twice, mean_interval(twice.worst["adv_test_mse"], derive_seed(0, "rank"))),
    ):
        assert [place.interval for place in rank([one])] == [expected]


def regression(name: str, errors: Array) -> Contender:
    row = make_row(cell_id=name, model_id=name, dataset="staircase", attack="exact", precision="float64")
    outcomes = {"index": np.arange(len(errors)), "squared_error": errors / 2, "adv_squared_error": errors}
    return Contender(rows=(row,), outcomes=(outcomes,))
