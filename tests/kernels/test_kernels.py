"""Upper bounds of launches and synchronisations on CUDA, counted on the pretend device (CNN2, MNIST's shape)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pretend_device import needs_pretend_device, on_pretend_device

pytestmark = [needs_pretend_device, pytest.mark.slow, pytest.mark.timeout(1800)]  # half a minute of computing

MOST_PLAIN = {"natural": 62, "at": 360, "rst": 425, "trades": 442, "gr": 173, "llr": 444, "llr released": 275}
# What bf16 adds are kernels that round: the images, the logits and the gradient of each for every pass, and all weights and
# all their gradients, a kernel each, for every pass that learns. No kernel of torch's writes two types at once.
MOST_IN_BF16 = {"natural": 63, "at": 402, "rst": 472, "trades": 491, "gr": 182, "llr": 468, "llr released": 290}
MOST_OUTSIDE = 12  # of a recorded graph


@pytest.fixture(scope="module")
def counted() -> Any:
    return json.loads(on_pretend_device("tests/kernels/launch_counts.py").splitlines()[-1])


def test_a_step_of_pgd_takes_few_launches(counted: Any) -> None:
    assert counted["pgd step"] <= 28


@pytest.mark.parametrize("defense", MOST_PLAIN)
def test_a_training_step_takes_few_launches_and_does_not_wait(defense: str, counted: Any) -> None:
    assert counted["plain"][defense]["launches"] <= MOST_PLAIN[defense]
    assert counted["plain"][defense]["waits"] == 0


@pytest.mark.parametrize("defense", MOST_IN_BF16)
def test_a_training_step_in_bf16_rounds_weights_once(defense: str, counted: Any) -> None:
    assert counted["bf16"][defense]["launches"] <= MOST_IN_BF16[defense]
    assert counted["bf16"][defense]["waits"] == 0


RECORDED = [("", defense) for defense in MOST_PLAIN] + [("bf16 ", "at"), ("augmented ", "at")]


@pytest.mark.parametrize(("kind", "defense"), RECORDED)
def test_a_recorded_step_takes_hardly_any_launch_and_learns_the_same(kind: str, defense: str, counted: Any) -> None:
    plain, recorded = counted[kind.strip() or "plain"][defense], counted[f"{kind}recorded"][defense]
    assert recorded["captures"] == 1
    assert recorded["launches"] <= MOST_OUTSIDE
    assert recorded["waits"] == 0
    assert recorded["weights"] == plain["weights"]


@pytest.mark.parametrize("what", ["pgd", "lipschitz"])
def test_an_attack_and_a_metric_are_recorded_once_for_all_calls(what: str, counted: Any) -> None:
    assert [call["captures"] for call in counted[what]] == [0, 1, 0]
    assert counted[what][2]["launches"] <= MOST_OUTSIDE


def test_mt_waits_once_for_each_target(counted: Any) -> None:
    for what in ("mt", "mt plain"):
        assert counted[what][2]["syncs"] <= 9
