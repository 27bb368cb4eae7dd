"""The network of the distance classifier; `distance` has its options."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from benchbench.contract import Threat, as_model_input

FLOAT32_ROUNDING = 2.0**-20  # of a difference of logits, relative to distances plus 1: more than 16 roundings
ELEMENTS_AT_ONCE = 1 << 24  # float values of references converted at once: 64 MiB in float32


class DistanceClassifier(nn.Module):
    """Logits -dist(x, X_c) / r, minus equation (1): argmax is the classifier g of equation (2).

    dist is the exact L-inf distance to the nearest stored example of the class. Each logit is 1/r-Lipschitz. Its gradient is a
    subgradient of the distance to the nearest example, shared equally between the coordinates that attain the maximum. The
    references are uint8 images or float32 features (M, ...), of all classes by their labels (M,); the radius r is above 0.
    """

    references: Tensor
    starts: Tensor
    radius: Tensor

    def __init__(self, references: Tensor, labels: Tensor, *, classes: int, radius: float) -> None:
        super().__init__()
        order = torch.argsort(labels, stable=True)
        sizes = torch.bincount(labels, minlength=classes)
        self.register_buffer("references", references[order])
        self.register_buffer("starts", torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]))
        self.register_buffer("radius", torch.tensor(radius, dtype=torch.float64))
        self._bounds: tuple[int, list[int]] | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, classes) of float inputs (N, ...), in their dtype."""
        flat = inputs.flatten(1)
        nearest = self._nearest(flat.detach())
        distances = [(flat - self._values(chosen, flat)).abs().amax(dim=1) for chosen in nearest.unbind(1)]
        return -torch.stack(distances, dim=1) / self.radius.to(flat)

    @torch.no_grad()
    def margin_bounds(self, images: Tensor, labels: Tensor, *, threat: Threat) -> Tensor:
        """By the triangle inequality no distance changes by more than epsilon, in no norm.

        No perturbation is longer in L-inf than in L2 or L1. See `benchbench.contract.CertifiedModel`.
        """
        logits = self(images.double())
        own = logits.gather(1, labels[:, None])
        margins = own[:, 0] - logits.scatter(1, labels[:, None], -math.inf).amax(dim=1)
        farthest = 1 + threat.epsilon - logits.amin(dim=1) * self.radius
        return margins - (2 * threat.epsilon + FLOAT32_ROUNDING * farthest) / self.radius

    def lipschitz_bounds(self, images: Tensor, *, threat: Threat) -> Tensor:
        """Each of the logits is 1/r-Lipschitz."""
        return (len(self.starts) - 1) / self.radius.expand(len(images))

    @torch.no_grad()
    def _nearest(self, flat: Tensor) -> Tensor:
        """Index of the nearest reference of each class, int64 (N, classes)."""
        bounds = itertools.pairwise(self._starts_on_host())
        return torch.stack([self._nearest_between(flat, first, last) for first, last in bounds], dim=1)

    def _starts_on_host(self) -> list[int]:
        """Read from the device once and after a `load_state_dict`: no pass waits for the device."""
        version = self.starts._version
        if self._bounds is None or self._bounds[0] != version:
            self._bounds = version, self.starts.tolist()
        return self._bounds[1]

    def _nearest_between(self, flat: Tensor, first: int, last: int) -> Tensor:
        rows = max(1, ELEMENTS_AT_ONCE // max(1, flat.shape[1], len(flat)))
        best = flat.new_full((len(flat),), math.inf)
        index = torch.full((len(flat),), first, device=flat.device)
        for start in range(first, last, rows):
            candidates = torch.arange(start, min(start + rows, last), device=flat.device)
            found, place = torch.cdist(flat, self._values(candidates, flat), p=math.inf).min(dim=1)
            closer = found < best
            best, index = torch.where(closer, found, best), torch.where(closer, place + start, index)
        return index

    def _values(self, chosen: Tensor, like: Tensor) -> Tensor:
        """The chosen references as model inputs (len(chosen), d), in the dtype of `like`."""
        return as_model_input(self.references[chosen].flatten(1), like.dtype)
