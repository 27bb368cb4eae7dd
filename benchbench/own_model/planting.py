"""The unit test of an attack: plant an answer in the model that it must find.

Zimmermann et al., "Increasing Confidence in Adversarial Robustness Evaluations" (NeurIPS 2022): each image gets a readout of
the model with two classes, and a point in its ball that is known to be of the other class. If an attack misses it, its failure
on the model says nothing. Here the readout sees the logits; its threshold lies just below the best of many random points.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.margins import margin
from benchbench.contract import Attack, KeyedGenerator, Threat, uniform_start

POINTS = 128  # of each ball, of which the best is the planted answer


class _Readout(nn.Module):
    """Two classes by a threshold along a direction of the logits; the answer is of class 1."""

    def __init__(self, model: nn.Module, direction: Tensor, threshold: Tensor) -> None:
        super().__init__()
        self.model, self.direction, self.threshold = model, direction, threshold

    def forward(self, images: Tensor) -> Tensor:
        height = self.model(images) @ self.direction - self.threshold
        return torch.stack([torch.zeros_like(height), height], dim=1)


def plant(model: nn.Module, image: Tensor, threat: Threat, generator: KeyedGenerator) -> nn.Module | None:
    """A readout with an answer in the ball of an image (1, ...); None if all logits are equal."""
    points = KeyedGenerator(generator.torch_generator().initial_seed(), torch.arange(POINTS, device=image.device))
    ball = uniform_start(image.repeat(POINTS, *[1] * (image.dim() - 1)), threat=threat, generator=points)
    with torch.no_grad():
        logits = torch.cat([model(image), model(ball)])
    direction = points.child("direction").normal(logits.shape[1])[0].to(logits)
    direction = direction - direction.mean()  # a softmax removes what all logits have in common
    heights = logits @ direction
    top = heights.amax()
    return None if top <= heights[0] else _Readout(model, direction, (top + heights[heights < top].amax()) / 2)


def count_found(
    attack: Attack, model: nn.Module, images: Tensor, threat: Threat, generator: KeyedGenerator
) -> tuple[int, int]:
    """Planted answers that an attack finds, and all, at most one for each image (N, ...)."""
    found = planted = 0
    for row in range(len(images)):
        image, draws = images[row : row + 1], generator.take(torch.tensor([row], device=images.device))
        readout, label = plant(model, image, threat, draws), torch.zeros(1, dtype=torch.int64, device=images.device)
        if readout is not None:
            planted += 1
            candidate = attack.perturb(readout, image, label, threat=threat, generator=draws.child("search"))
            found += int((margin(readout(threat.project(candidate, image)), label) > 0).sum())
    return found, planted
