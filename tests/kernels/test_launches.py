"""Upper bounds of launches and synchronisations on CUDA, counted on the pretend device (CNN2, MNIST's shape)."""

from __future__ import annotations

from typing import Any

import pytest
from pretend_device import needs_pretend_device, on_pretend_device

pytestmark = needs_pretend_device

MOST_PLAIN = {"natural": 60, "at": 360, "rst": 420, "trades": 450, "gr": 180, "llr": 420, "llr released": 300}
MOST_OUTSIDE = 12  # of a recorded graph


@pytest.fixture(scope="module")
def counted() -> Any:
    return on_pretend_device("kernels/launch_counts.py")


def test_a_step_of_pgd_takes_few_launches(counted: Any) -> None:
    assert counted["pgd step"] <= 28


@pytest.mark.parametrize("defense", MOST_PLAIN)
def test_a_training_step_takes_few_launches_and_does_not_wait(defense: str, counted: Any) -> None:
    assert counted["plain"][defense]["launches"] <= MOST_PLAIN[defense]
    assert counted["plain"][defense]["waits"] == pytest.approx(0, abs=0.5)  # the data set's own copy, once


@pytest.mark.parametrize("defense", MOST_PLAIN)
def test_a_recorded_training_step_takes_hardly_any_launch_and_learns_the_same(defense: str, counted: Any) -> None:
    recorded = counted["recorded"][defense]
    assert recorded["captures"] == 1
    assert recorded["launches"] <= MOST_OUTSIDE
    assert recorded["weights"] == pytest.approx(counted["augmented"][defense]["weights"], rel=1e-6)


def test_steps_in_bf16_are_recorded_too(counted: Any) -> None:
    assert counted["recorded bf16"]["at"]["launches"] <= MOST_OUTSIDE


@pytest.mark.parametrize("what", ["pgd", "lipschitz"])
def test_an_attack_and_a_metric_are_recorded_once_for_all_calls(what: str, counted: Any) -> None:
    assert [call["captures"] for call in counted[what]] == [0, 1, 0]
    assert counted[what][2]["launches"] <= MOST_OUTSIDE


def test_mt_waits_once_for_each_target(counted: Any) -> None:
    for what in ("mt", "mt plain"):
        assert counted[what][2]["syncs"] <= 9
