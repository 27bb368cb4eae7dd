"""The check of certificates accepts sound ones and names what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from benchbench.builtin.defenses.distance_classifier import DistanceClassifier
from benchbench.contract import Threat
from benchbench.testing import ConformanceError, check_certificates

THREAT = Threat(epsilon=0.05)


class Certified(nn.Module):
    """A linear model with its exact bounds in L-inf, each times or plus something."""

    def __init__(
        self, *, margin: Callable[[Tensor], Tensor] = lambda x: x, constant: Callable[[Tensor], Tensor] = lambda x: x
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        drawn = torch.Generator().manual_seed(0)
        self.linear.weight.data, self.linear.bias.data = (
            torch.randn(3, 4, generator=drawn),
            torch.randn(3, generator=drawn),
        )
        self._margin, self._constant = margin, constant
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1))

    def margin_bounds(self, images: Tensor, labels: Tensor, *, threat: Threat) -> Tensor:
        logits, weight = self(images).double(), self.linear.weight.double()
        reach = threat.epsilon * (weight[labels][:, None] - weight).abs().sum(dim=2) + 1e-5
        gaps = logits.gather(1, labels[:, None]) - logits - reach
        return self._margin(gaps.scatter(1, labels[:, None], torch.inf).amin(dim=1))

    def lipschitz_bounds(self, images: Tensor, *, threat: Threat) -> Tensor:
        return self._constant(self.linear.weight.double().abs().sum().expand(len(images)))


def problem(model: nn.Module) -> tuple[Tensor, Tensor]:
    images = 0.1 + 0.8 * torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    return images, model(images).argmax(dim=1)


def test_sound_certificates_pass() -> None:
    model = Certified()
    check_certificates(model, *problem(model), threat=THREAT)
    references = torch.randint(0, 256, (6, 1, 2, 2), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    distance = DistanceClassifier(references, torch.tensor([0, 0, 1, 1, 2, 2]), classes=3, radius=0.1).eval()
    check_certificates(distance, *problem(distance), threat=THREAT)


@pytest.mark.parametrize(
    ("message", "model"),
    [
        ("margin_bounds", Certified(margin=lambda bound: bound + 0.02)),
        ("margin_bounds", Certified(margin=lambda bound: bound.float())),
        ("lipschitz_bounds", Certified(constant=lambda bound: 0.3 * bound)),
        ("lipschitz_bounds", Certified(constant=lambda bound: bound * torch.nan)),
        ("alone", Certified(margin=lambda bound: bound - len(bound))),
        ("type", nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval().requires_grad_(False)),
    ],
)
def test_a_broken_promise_is_named(message: str, model: nn.Module) -> None:
    with pytest.raises(ConformanceError, match=message):
        check_certificates(model, *problem(model), threat=THREAT)


@pytest.mark.parametrize("seed", range(8))
def test_the_attacks_aim_at_every_class(seed: int) -> None:
    """Which class is nearest depends on the biases: cross-entropy alone misses it for some of them."""
    model = Certified(margin=lambda bound: bound + 0.002)
    model.linear.bias.data = 2 * torch.rand(3, generator=torch.Generator().manual_seed(seed)) - 1
    with pytest.raises(ConformanceError, match="margin_bounds"):
        check_certificates(model, *problem(model), threat=THREAT)


def test_a_bound_that_ignores_the_radius_is_named() -> None:
    model = Certified()
    exact = model.margin_bounds
    model.margin_bounds = lambda images, labels, *, threat: (
        exact(images, labels, threat=Threat(epsilon=0.05)) - (0.0 if threat.epsilon > 0.05 else 0.01)
    )
    with pytest.raises(ConformanceError, match="twice the radius"):
        check_certificates(model, *problem(model), threat=THREAT)
