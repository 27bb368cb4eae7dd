"""Spread over seeds: formulas against scipy's, coverage and size by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student_t
from scipy.stats import ttest_ind, ttest_ind_from_stats

from benchbench.leaderboard.spread import compare_seeds, possible, prediction_interval, seed_spread
from benchbench.records import Interval
from benchbench.reproduction.verdicts import DIFFERS, OUTSIDE, UNEQUAL, judge_values

DRAWS = 600
SLACK = 3 * math.sqrt(0.05 * 0.95 / DRAWS)  # three standard errors of a rate of 5%


def test_prediction_interval_is_the_textbook_formula() -> None:
    found = prediction_interval([1.0, 2.0, 4.0])
    half = student_t.ppf(0.975, 2) * np.std([1.0, 2.0, 4.0], ddof=1) * math.sqrt(1 + 1 / 3)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((7 / 3 - half, 7 / 3 + half))


@pytest.mark.parametrize(
    ("key", "ends"),
    [("test_accuracy", [0.0, 1.0]), ("smoothed_accuracy", [0.0, 1.0]), ("test_mse", [0.0, 7.0]), ("gap", [-2.0, 7.0])],
)
def test_ends_of_an_interval_are_possible_values(key: str, ends: list[float]) -> None:
    assert [float(end) for end in possible(key, -2.0, 7.0)] == ends


@pytest.mark.parametrize("n", [2, 3, 10])
def test_prediction_interval_holds_a_further_run_19_times_in_20(n: int) -> None:
    generator = np.random.default_rng(n)
    outside = 0
    for _ in range(DRAWS):
        *runs, further = generator.normal(20.0, 3.0, n + 1)
        found = prediction_interval(runs)
        assert found is not None
        outside += not found.low <= further <= found.high
    assert outside / DRAWS == pytest.approx(0.05, abs=SLACK)


@pytest.mark.parametrize("decimals", [2, 0])
def test_a_rounded_number_of_the_same_method_differs_at_most_once_in_20(decimals: int) -> None:
    generator = np.random.default_rng(decimals)
    draws = generator.normal(20.0, 1.0, (DRAWS, 4))
    step = 10.0**-decimals
    verdicts = [judge_values(runs[:3], round(float(runs[3]), decimals), step=step) for runs in draws]
    assert verdicts.count(DIFFERS) / DRAWS <= 0.05 + SLACK


def test_an_interval_over_examples_says_nothing_about_another_run() -> None:
    """As measured on digits: the spread over runs is several times the interval over examples."""
    generator = np.random.default_rng(0)
    pairs = generator.normal(20.0, 3.0, (DRAWS, 2))
    verdicts = [judge_values([a], b, step=0.01, interval=Interval(low=a - 0.5, high=a + 0.5)) for a, b in pairs]
    assert verdicts.count(OUTSIDE) > 0.8 * DRAWS  # "differs" would be wrong each time
    assert verdicts.count(DIFFERS) == 0


@pytest.mark.parametrize(
    ("sizes", "rate"), [((2, 2), 0.05), ((3, 3), 0.05), ((5, 5), 0.05), ((1, 5), 0.05), ((5, 1), 0.05), ((2, 6), 0.08)]
)
def test_seed_tests_reject_equal_methods_as_often_as_documented(sizes: tuple[int, int], rate: float) -> None:
    generator = np.random.default_rng(sum(sizes))
    rejected = covered = 0
    for _ in range(DRAWS):
        found = compare_seeds(*(generator.normal(0.9, 0.01, n).tolist() for n in sizes))
        assert None not in (found.p_value, found.low, found.high)
        rejected += found.p_value < 0.05  # type: ignore[operator]
        covered += found.low <= 0 <= found.high  # type: ignore[operator]
    assert rejected / DRAWS <= rate + SLACK  # Welch's test with equally few runs on both sides rejects less often
    assert rejected == DRAWS - covered
    if 1 in sizes:
        assert rejected / DRAWS == pytest.approx(0.05, abs=SLACK)


def test_several_runs_of_both_are_welchs_test() -> None:
    first, second = [0.80, 0.83, 0.85, 0.81], [0.70, 0.90]
    expected = ttest_ind(first, second, equal_var=False)
    found, interval = compare_seeds(first, second), expected.confidence_interval(0.95)
    assert (found.low, found.high, found.p_value) == pytest.approx((interval.low, interval.high, expected.pvalue))
    one_constant = compare_seeds([0.5, 0.5], [0.7, 0.9, 0.8])  # only the other side has a spread
    assert one_constant.p_value == pytest.approx(2 * student_t.sf(0.3 / (0.1 / math.sqrt(3)), 2))


def test_one_run_against_several_is_the_pooled_t_test_of_one_value() -> None:
    several = [0.80, 0.83, 0.85, 0.81]
    expected = ttest_ind_from_stats(0.9, 0.0, 1, np.mean(several), np.std(several, ddof=1), 4, equal_var=True)
    assert compare_seeds([0.9], several).p_value == pytest.approx(expected.pvalue)
    assert compare_seeds(several, [0.9]).p_value == pytest.approx(expected.pvalue)
    low, high = compare_seeds([0.9], several).low, compare_seeds([0.9], several).high
    turned = compare_seeds(several, [0.9])
    assert (turned.high, turned.low) == (pytest.approx(-(low or 0)), pytest.approx(-(high or 0)))


@pytest.mark.parametrize(("first", "second"), [([0.5, 0.5], [0.9, 0.9]), ([0.5], [0.9, 0.9]), ([0.5, 0.5], [0.5, 0.5])])
def test_runs_without_spread_give_neither_p_value_nor_interval(first: list[float], second: list[float]) -> None:
    found = compare_seeds(first, second)
    assert (found.p_value, found.low, found.high) == (None, None, None)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("largest", [1e80, 1e200, 1.7e308])
def test_values_whose_squares_are_no_floats_have_a_mean_and_nothing_infinite(largest: float) -> None:
    values = [largest, largest, 1.0]
    spread, further, tested = seed_spread(values), prediction_interval(values), compare_seeds(values, [2.0, 3.0])
    assert spread.mean == pytest.approx(largest / 3 * 2)
    ends = [spread.deviation, spread.low, spread.high, further and further.low, further and further.high]
    assert all(end is None or math.isfinite(end) for end in ends)
    assert (spread.deviation is None) == (largest > 1e100)
    assert tested.p_value is None


def test_rounding_is_no_spread() -> None:
    values = [0.1 + 0.2, 0.3, 0.3]
    assert prediction_interval(values) is None
    assert seed_spread(values).deviation == 0.0
    assert seed_spread(values).low is None
    assert judge_values(values, 0.5, step=0.01) == UNEQUAL
    assert compare_seeds(values, [0.9, 0.9]).p_value is None


def test_zeros_have_no_spread() -> None:
    assert prediction_interval([0.0, 0.0]) is None
    assert prediction_interval([0.0]) is None
