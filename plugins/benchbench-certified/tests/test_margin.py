"""Lipschitz-margin training: the formula, the certificate, and the network that it is for."""

from __future__ import annotations

import math

import pytest
import torch
from benchbench_certified import benchbench_defenses
from benchbench_certified.lipschitz import LipschitzNetwork, make_lipschitz_mlp
from benchbench_certified.margin import LipschitzMargin

from benchbench.contract import KeyedGenerator, OptionError, Threat, bound_margins
from benchbench.testing import check_defense

L2 = Threat(norm="l2", epsilon=0.5)


def network(classes: int) -> LipschitzNetwork:
    torch.manual_seed(0)
    return make_lipschitz_mlp(input_shape=(1, 2, 2), classes=classes, hidden=(8,), scale=5.0)


def test_defense_keeps_the_contract() -> None:
    check_defense(LipschitzMargin(), accuracy=0.95)


@pytest.mark.parametrize(("threat", "length"), [(L2, 0.5), (Threat(norm="linf", epsilon=0.1), 0.2)])
def test_loss_is_the_cross_entropy_of_logits_with_a_handicap(threat: Threat, length: float) -> None:
    model, images, labels = network(3), KeyedGenerator(0, torch.arange(3)).uniform(1, 2, 2), [0, 2, 1]
    found = LipschitzMargin(radius_ratio=1.5).loss(
        model, images, torch.tensor(labels), threat=threat, generator=KeyedGenerator(1, torch.arange(3))
    )
    added = 1.5 * math.sqrt(2) * length * 5.0
    by_hand = 0.0
    for row, label in zip(model(images).tolist(), labels):
        raised = [math.exp(one + (added if place != label else 0.0)) for place, one in enumerate(row)]
        by_hand -= math.log(raised[label] / sum(raised))
    assert found.loss.item() == pytest.approx(by_hand, rel=1e-5)


def certified(radius_ratio: float) -> int:
    """How many of two far images are certified after training with a ratio."""
    model, images, labels = (
        network(2),
        torch.tensor([0.1, 0.9])[:, None, None, None].expand(2, 1, 2, 2),
        torch.arange(2),
    )
    defense, optimizer = LipschitzMargin(radius_ratio=radius_ratio), torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        generator = KeyedGenerator(0, torch.arange(2))
        defense.loss(model, images, labels, threat=L2, generator=generator).loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    bounds = bound_margins(model.eval().requires_grad_(False), images, labels, threat=L2)
    assert bounds.note == ""
    return int((bounds.values > 0).sum())


def test_training_certifies_the_radius() -> None:
    assert certified(1.0) == 2


def test_it_is_offered_for_the_network_of_that_constant_only() -> None:
    (offer,) = [one for one in benchbench_defenses() if one.name == "lipschitz-margin"]
    assert offer.capabilities.architectures == ("lipschitz-mlp",)
    with pytest.raises(OptionError, match="radius_ratio must be above 0"):
        LipschitzMargin(radius_ratio=0.0)
