"""The staircase's perturbation set {x - epsilon, x, x + epsilon}, searched exhaustively."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchbench.contract import KeyedGenerator, Threat

SHIFTS = (0.0, -1.0, 1.0)  # the input itself first: the first of equal errors counts


class Exact:
    """Move every input by -epsilon, 0 or +epsilon in all coordinates, to the largest error.

    The paper's regression considers these three points only ("only the point-wise perturbation").
    """

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """The worst of the three points for inputs (N, ...), float targets (N,); uses epsilon only."""
        candidates = torch.stack([images + shift * threat.epsilon for shift in SHIFTS])
        with torch.no_grad():
            errors = torch.stack([(model(moved) - labels).abs() for moved in candidates])
        worst = errors.argmax(dim=0)
        return candidates[worst, torch.arange(len(images), device=images.device)]
