"""Paired statistics against closed forms and published adjustments."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from contender_samples import contender, share
from scipy.stats import binomtest, ttest_ind_from_stats
from scipy.stats import t as student_t

from benchbench.comparison.contenders import Contender
from benchbench.comparison.pairing import (
    compare,
    holm,
    mcnemar_p_values,
    paired_t_p_values,
    permutation_p_value,
    spreads,
)
from benchbench.errors import UsageError
from benchbench.leaderboard.spread import seed_spread


def test_mcnemar_is_the_exact_binomial_test() -> None:
    first = np.array([True] * 9 + [False] * 2 + [True] * 50)
    second = np.array([False] * 9 + [True] * 2 + [True] * 50)
    expected = 2 * sum(math.comb(11, k) for k in range(3)) / 2**11
    p_values = mcnemar_p_values(np.stack([first, second, first]))
    assert p_values[0, 1] == pytest.approx(expected, rel=1e-12)
    assert p_values[1, 0] == p_values[0, 1]
    assert p_values[0, 2] == p_values[0, 0] == 1.0


def test_mcnemar_of_random_outcomes_is_scipys_binomial_test() -> None:
    generator = np.random.default_rng(7)
    outcomes = generator.uniform(size=(5, 80)) < generator.uniform(0.3, 0.9, size=(5, 1))
    found = mcnemar_p_values(outcomes)
    for i, j in itertools.permutations(range(5), 2):
        only_first, only_second = (int((outcomes[a] & ~outcomes[b]).sum()) for a, b in ((i, j), (j, i)))
        expected = binomtest(only_first, only_first + only_second).pvalue
        assert found[i, j] == pytest.approx(expected, rel=1e-9)


def test_holm_of_random_p_values_is_the_closed_bonferroni_test() -> None:
    generator = np.random.default_rng(8)
    for n in range(1, 7):
        p_values = (generator.uniform(size=n) ** 3).tolist()
        families = [c for k in range(1, n + 1) for c in itertools.combinations(range(n), k)]
        closed = [
            max(min(1.0, len(family) * min(p_values[j] for j in family)) for family in families if i in family)
            for i in range(n)
        ]
        assert holm(p_values) == pytest.approx(closed)


def test_paired_t_tests_are_scipys_and_defined_without_spread() -> None:
    generator = np.random.default_rng(9)
    first = generator.exponential(size=200)
    second = first + generator.normal(0.05, 0.3, size=200)
    found = paired_t_p_values(np.stack([first, second, first, first + 1.0]))
    change = first - second
    t = change.mean() / (change.std(ddof=1) / math.sqrt(200))
    assert found[0, 1] == found[1, 0] == pytest.approx(2 * student_t.sf(abs(t), 199), rel=1e-9)
    assert found[0, 2] == 1.0
    assert found[0, 3] < 1e-12


def test_permutation_test_of_few_examples_is_exact() -> None:
    one = contender("one", ("pgd", np.array([True, False, False, True, False, False, False, False])))
    other = contender("other", ("pgd", np.ones(8, dtype=bool)))
    lipschitz = {d.measure: d for d in compare({"one": [one], "other": [other]})}["test_lipschitz"]
    assert lipschitz.test == "permutation"
    assert lipschitz.p_value == pytest.approx(2 / 2**6)  # six examples differ, all in one direction


def test_holm_gives_the_textbook_values_in_the_order_given() -> None:
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])  # R: p.adjust(..., "holm")
    assert holm([0.04, 0.001, 0.6]) == pytest.approx([0.08, 0.003, 0.6])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_controls_false_discoveries_where_single_tests_do_not() -> None:
    generator = np.random.default_rng(0)
    single = family = 0
    for _ in range(200):
        p_values = generator.uniform(size=20).tolist()
        single += min(p_values) < 0.05
        family += min(holm(p_values)) < 0.05
    assert single > 100
    assert family <= 20


def test_worst_case_over_attacks_is_compared_and_not_single_attacks() -> None:
    one = contender("one", ("pgd", share(90)), ("mt", ~share(10) & share(95)))
    other = contender("other", ("pgd", share(90)), ("mt", share(95)))
    robust = {d.measure: d for d in compare({"one": [one], "other": [other]})}["adv_test_accuracy"]
    assert (robust.first, robust.second, robust.n) == (0.8, 0.9, 100)
    assert robust.low is not None
    assert robust.high is not None
    assert robust.low < robust.difference < robust.high < 0
    assert robust.difference == pytest.approx(-0.1)
    assert robust.test == "McNemar"
    assert robust.significant


def test_equal_models_tie_and_correction_counts_all_tests() -> None:
    names = {name: [contender(name, ("pgd", share(80)))] for name in ("a", "b", "c")}
    differences = compare(names)
    assert len(differences) == 9  # three pairs, three measures
    assert {d.p_value for d in differences} == {1.0}
    assert not any(d.significant for d in differences)
    assert compare(names) == differences


def test_only_common_attacks_and_common_examples_count() -> None:
    one = contender("one", ("pgd", share(90)), ("mt", share(10)))
    other = contender("other", ("pgd", share(30, n=50)))
    robust = {d.measure: d for d in compare({"one": [one], "other": [other]})}["adv_test_accuracy"]
    assert (robust.n, robust.first, robust.second) == (50, 1.0, 0.6)


def test_models_of_other_threat_or_without_common_attack_are_refused() -> None:
    one = contender("one", ("pgd", share(90)))
    with pytest.raises(UsageError, match="one and other cannot be compared: they differ in epsilon"):
        compare({"one": [one], "other": [contender("other", ("pgd", share(90)), epsilon=0.3)]})
    with pytest.raises(UsageError, match="one and other were evaluated under no common attack"):
        compare({"one": [one], "other": [contender("other", ("mt", share(90)))]})
    elsewhere = contender("other", ("pgd", share(90)))
    moved = tuple({**outcome, "index": outcome["index"] + 100} for outcome in elsewhere.outcomes)
    with pytest.raises(UsageError, match="one and other were evaluated on no common test example"):
        compare({"one": [one], "other": [dataclasses.replace(elsewhere, outcomes=moved)]})


def seeds(name: str, *counts: int) -> list[Contender]:
    return [contender(f"{name}{s}", ("pgd", share(count)), defense=name, seed=s) for s, count in enumerate(counts)]


def test_several_seeds_are_compared_over_seeds() -> None:
    differences = compare({"a": seeds("a", 90, 92, 91), "b": seeds("b", 70, 72, 74)})
    robust = {d.measure: d for d in differences}["adv_test_accuracy"]
    assert (robust.test, robust.n, robust.seeds) == ("t over seeds", 3, (3, 3))
    assert robust.difference == pytest.approx(0.19)
    assert robust.significant


def test_one_seed_is_compared_with_all_of_several() -> None:
    differences = {d.measure: d for d in compare({"a": seeds("a", 90, 70, 74, 78), "b": seeds("b", 90)})}
    robust = differences["adv_test_accuracy"]
    assert (robust.first, robust.second, robust.seeds, robust.n) == (pytest.approx(0.78), 0.9, (4, 1), 1)
    assert robust.p_value == pytest.approx(ttest_ind_from_stats(0.9, 0, 1, 0.78, 0.0864099, 4).pvalue, rel=1e-5)
    assert not robust.significant


def test_seeds_without_spread_have_no_p_value_and_leave_the_other_tests_alone() -> None:
    differences = {d.measure: d for d in compare({"a": seeds("a", 90, 90), "b": seeds("b", 10, 12)})}
    everything_right = differences["test_accuracy"]
    assert (everything_right.p_value, everything_right.adjusted, everything_right.low) == (None, None, None)
    assert not everything_right.significant
    robust = differences["adv_test_accuracy"]
    assert robust.adjusted == pytest.approx(2 * (robust.p_value or 0))  # two tests were made, not three
    none = {d.measure: d for d in compare({"a": seeds("a", 90, 90), "b": seeds("b", 10, 10)})}["adv_test_accuracy"]
    assert (none.difference, none.p_value, none.significant) == (pytest.approx(0.8), None, False)


def test_a_run_on_both_sides_is_refused() -> None:
    runs = seeds("a", 90, 80, 70)
    with pytest.raises(UsageError, match="both contain model a1"):
        compare({"all": runs, "one": runs[1:2]})


def test_spread_is_over_the_attacks_and_examples_that_all_seeds_had() -> None:
    first = contender("a0", ("pgd", share(90)), ("mt", share(10)))
    second = contender("a1", ("pgd", share(30, n=50)), seed=1)
    assert spreads([first, second])["adv_test_accuracy"].mean == pytest.approx(0.8)  # of 100 % and 60 % of fifty
    assert spreads([first, contender("a1", ("mt-20", share(30)), seed=1)]) == {}


def test_one_example_or_equal_outcomes_give_no_significance() -> None:
    for one, other in ((share(1, n=1), share(0, n=1)), (share(80), share(80))):
        for d in compare({"a": [contender("a", ("pgd", one))], "b": [contender("b", ("pgd", other))]}):
            assert (d.p_value, d.low, d.high, d.significant) == (1.0, None, None, False)
    assert paired_t_p_values(np.array([[1.0], [3.0]]))[0, 1] == 1.0
    assert paired_t_p_values(np.array([[1.0, 1.0], [3.0, 3.0]]))[0, 1] == 0.5  # both signs alike: 2 of 4


def test_paired_tests_reject_equal_models_at_most_once_in_20() -> None:
    generator = np.random.default_rng(5)
    n, draws = 60, 150
    slack = 3 * math.sqrt(0.05 * 0.95 / draws)
    rejected = {"McNemar": 0, "permutation": 0, "t": 0}
    for _ in range(draws):
        right = generator.uniform(size=(2, n)) < 0.7
        ratios = generator.exponential(size=(2, n))
        rejected["McNemar"] += mcnemar_p_values(right)[0, 1] < 0.05
        rejected["permutation"] += permutation_p_value(ratios[0] - ratios[1], resamples=199) < 0.05
        rejected["t"] += paired_t_p_values(ratios)[0, 1] < 0.05
    assert max(rejected.values()) / draws <= 0.05 + slack
    assert min(rejected.values()) > 0


def test_spread_over_seeds_is_the_t_interval() -> None:
    spread = seed_spread([0.8, 0.9, 1.0])
    assert (spread.n, spread.mean, spread.deviation) == (3, pytest.approx(0.9), pytest.approx(0.1))
    assert spread.high == pytest.approx(0.9 + 4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert seed_spread([0.5]).low is None
