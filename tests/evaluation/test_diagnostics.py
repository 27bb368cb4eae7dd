"""Diagnostics on planted cases, each of which must be flagged, and on sound models, which must not be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.autoattack.square import Square
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.contract import Attack, Examples, KeyedGenerator, Threat
from benchbench.evaluation import evaluate
from benchbench.testing.toys import LinearToy, smooth_toy

SHAPE, CLASSES, COUNT = (1, 6, 6), 4, 60
THREAT = Threat(epsilon=0.1)


def network() -> nn.Module:
    """A smooth network that answers with every class."""
    model = smooth_toy(SHAPE, CLASSES)
    with torch.no_grad():
        last = model[-1]  # type: ignore[index]
        last.weight.mul_(8.0)
        last.bias.sub_(model(KeyedGenerator(0, torch.arange(200)).uniform(*SHAPE)).mean(dim=0))
    return model


def flags(model: nn.Module, attack: Attack | None = None, threat: Threat = THREAT) -> tuple[str, ...]:
    inputs = (KeyedGenerator(7, torch.arange(COUNT)).uniform(*SHAPE) * 255).to(torch.uint8)
    with torch.no_grad(), torch.random.fork_rng():
        labels = network()(inputs.float() / 255).argmax(dim=1)
    examples, rows = Examples(inputs=inputs, labels=labels), torch.arange(COUNT)
    outcome = evaluate(
        model,
        train=examples,
        test=examples,
        train_rows=rows,
        test_rows=rows,
        classes=CLASSES,
        threat=threat,
        attack=attack or Pgd(),
        attack_name="planted",
        metrics={},
        seed=0,
        device=torch.device("cpu"),
    )
    return outcome.flags


class Wrapped(nn.Module):
    """A defense that hides an inner model instead of making it robust."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()


class Quantised(Wrapped):
    """Gradient masking: pixels are rounded, so that the gradient is zero, and changes little else."""

    def forward(self, images: Tensor) -> Tensor:
        return self.inner((images * 50).round() / 50)  # type: ignore[no-any-return]


class Saturated(Wrapped):
    """A softmax so sure of itself that the loss and its gradient are exactly zero in float32."""

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images) * 1e5  # type: ignore[no-any-return]


class Stochastic(Wrapped):
    """Noise at test time, from torch's global generator as such defenses take it."""

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images + 0.2 * torch.randn_like(images))  # type: ignore[no-any-return]


class Misleading(Wrapped):
    """Answers like the inner model, with a gradient that points the other way."""

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(2 * images.detach() - images)  # type: ignore[no-any-return]


class NotANumber(Wrapped):
    """A finite answer whose gradient is not: the root of zero."""

    def forward(self, images: Tensor) -> Tensor:
        nothing = (images - images).flatten(1).sum(dim=1, keepdim=True).sqrt()
        return self.inner(images) + nothing  # type: ignore[no-any-return]


class Idle:
    """An attack that does nothing."""

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        return images.clone()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Quantised(), {"zero-gradients", "loss-not-rising", "withstands-any-perturbation", "random-search-succeeds"}),
        (Saturated(), {"zero-gradients", "loss-not-rising", "withstands-any-perturbation"}),
        (Stochastic(), {"random-model"}),
        (Misleading(), {"loss-not-rising", "random-search-succeeds"}),
        (NotANumber(), {"zero-gradients"}),
    ],
    ids=["gradient-masked", "saturated-softmax", "stochastic", "misleading-gradient", "nan-gradient"],
)
def test_planted_case_is_flagged(model: nn.Module, expected: set[str]) -> None:
    assert expected <= set(flags(model))


@pytest.mark.parametrize("threat", [THREAT, Threat(norm="l2", epsilon=0.5), Threat(norm="l1", epsilon=2.0)])
def test_sound_model_is_not_flagged(threat: Threat) -> None:
    assert flags(network(), threat=threat) == ()


def test_linear_model_and_model_with_idle_dropout_are_not_flagged() -> None:
    weight = KeyedGenerator(3, torch.arange(CLASSES)).normal(36)
    assert flags(LinearToy(weight)) == ()
    assert flags(nn.Sequential(network(), nn.Dropout(0.5))) == ()


def test_attack_that_does_nothing_is_told_by_random_search() -> None:
    assert flags(network(), Idle()) == ("random-search-succeeds",)


def test_attack_without_gradients_does_not_care_about_missing_ones() -> None:
    assert flags(Quantised(), Square(queries=300)) == ()


def test_radius_of_zero_is_no_reason_for_flags() -> None:
    assert flags(network(), threat=Threat(epsilon=0.0)) == ()


def test_features_without_a_box_are_inspected_too() -> None:
    assert flags(network(), threat=Threat(epsilon=0.1, lower=float("-inf"), upper=float("inf"))) == ()
