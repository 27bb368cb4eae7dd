"""Intervals against published values and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap

from benchbench.contract.seeds import derive_seed
from benchbench.errors import DataError
from benchbench.records import accuracy_interval, mean_interval


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe (1998), table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_has_the_values_that_newcombe_gives(successes: int, n: int, low: float, high: float) -> None:
    interval = accuracy_interval(successes, n)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_holds_the_accuracy_and_lies_in_the_unit_interval(counts: tuple[int, int]) -> None:
    successes, n = counts
    interval = accuracy_interval(successes, n)
    assert 0 <= interval.low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= interval.high <= 1


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    with pytest.raises(DataError, match="impossible"):
        accuracy_interval(successes, n)


def test_bootstrap_interval_of_normal_values_is_about_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 5000)
    interval = mean_interval(values, 0)
    half = 1.96 * values.std() / np.sqrt(values.size)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_bootstrap_interval_depends_on_the_seed_alone() -> None:
    values = np.random.default_rng(1).exponential(size=100)
    assert mean_interval(values, 3) == mean_interval(values.tolist(), 3)
    assert mean_interval(values, 3) != mean_interval(values, 4)


def test_equal_values_have_an_interval_of_no_width() -> None:
    interval = mean_interval([2.0, 2.0, 2.0], 0)
    assert interval is not None
    assert (interval.low, interval.high) == (2.0, 2.0)


@pytest.mark.parametrize("values", [[], [1.0]])
def test_fewer_than_two_values_have_no_interval(values: list[float]) -> None:
    assert mean_interval(values, 0) is None


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="finite"):
        mean_interval([1.0, float("nan")], 0)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_is_scipys_bit_by_bit(counts: tuple[int, int]) -> None:
    expected = binomtest(*counts).proportion_ci(confidence_level=0.95, method="wilson")
    interval = accuracy_interval(*counts)
    assert (interval.low, interval.high) == (expected.low, expected.high)


@pytest.mark.parametrize(("seed", "size"), [(0, 2), (1, 10), (2, 999), (5, 700), (3, 1000), (4, 10_000)])
def test_bootstrap_interval_is_scipys_bit_by_bit(seed: int, size: int) -> None:
    values = np.random.default_rng(seed).exponential(size=size)
    expected = bootstrap(
        (values,),
        np.mean,
        n_resamples=2000,
        batch=2_000_000 // size,
        method="percentile",
        rng=np.random.default_rng(derive_seed(seed, "bootstrap")),
    ).confidence_interval
    interval = mean_interval(values, seed)
    assert interval is not None
    assert (interval.low, interval.high) == (expected.low, expected.high)
