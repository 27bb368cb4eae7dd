"""Paired statistics against closed forms and published adjustments."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from contender_samples import contender, share
from scipy.stats import binomtest
from scipy.stats import t as student_t

from benchbench.errors import UsageError
from benchbench.leaderboard.pairing import compare, holm, mcnemar_p_values, paired_t_p_values, seed_spread


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
    assert lipschitz.p_value == pytest.approx(2 / 2**6)  # six examples differ, all one way


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
    with pytest.raises(UsageError, match="threat"):
        compare({"one": [one], "other": [contender("other", ("pgd", share(90)), epsilon=0.3)]})
    with pytest.raises(UsageError, match="no common attack"):
        compare({"one": [one], "other": [contender("other", ("mt", share(90)))]})


def test_several_seeds_are_compared_over_seeds() -> None:
    def seeds(name: str, counts: tuple[int, ...]) -> list[object]:
        return [contender(f"{name}{s}", ("pgd", share(count)), defense=name, seed=s) for s, count in enumerate(counts)]

    differences = compare({"a": seeds("a", (90, 92, 91)), "b": seeds("b", (70, 72, 74))})  # type: ignore[dict-item]
    robust = {d.measure: d for d in differences}["adv_test_accuracy"]
    assert (robust.test, robust.n) == ("t over seeds", 3)
    assert robust.difference == pytest.approx(0.19)
    assert robust.significant


def test_spread_over_seeds_is_the_t_interval() -> None:
    spread = seed_spread([0.8, 0.9, 1.0])
    assert (spread.n, spread.mean, spread.deviation) == (3, pytest.approx(0.9), pytest.approx(0.1))
    assert spread.high == pytest.approx(0.9 + 4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert seed_spread([0.5]).low is None
