"""The threat model: a norm ball around each image, intersected with the box of valid pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

from benchbench.errors import OptionError, suggest

Norm = Literal["linf", "l2", "l1"]
NO_BALL = "in a ball of radius 0 there is nothing to attack, and robust accuracy would be plain accuracy"
NORMS: tuple[Norm, ...] = get_args(Norm)


@dataclass(frozen=True, kw_only=True)
class Threat:
    """B(x, epsilon) in a norm, intersected with [lower, upper]^d.

    Attributes:
        norm: ``"linf"``, ``"l2"`` or ``"l1"``.
        epsilon: radius, in the units of the inputs (pixels / 255), at least 0.
        lower: smallest valid input value; -inf for inputs without a box.
        upper: largest valid input value; inf for inputs without a box.

    Raises:
        OptionError: for an unknown norm, a negative or non-finite epsilon, or an empty box.
    """

    norm: Norm = "linf"
    epsilon: float
    lower: float = 0.0
    upper: float = 1.0

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise OptionError(f"unknown norm {self.norm!r}", hint=suggest(str(self.norm), NORMS))
        if not (math.isfinite(self.epsilon) and self.epsilon >= 0):
            raise OptionError(f"epsilon must be a finite number of at least 0, got {self.epsilon!r}")
        if not self.lower < self.upper:
            raise OptionError(f"the box [{self.lower}, {self.upper}] is empty")

    @property
    def order(self) -> float:
        """The p of the norm: inf, 2 or 1."""
        return {"linf": math.inf, "l2": 2.0, "l1": 1.0}[self.norm]

    def project(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Project candidates onto the ball around the images, then clip to the box.

        For L-inf this is the exact projection onto the intersection; for L2 and L1 the result lies in both sets (clipping
        towards a centre inside the box never leaves the ball) without being the nearest point of both.

        Args:
            candidates: float (N, ...), anywhere.
            images: float (N, ...), the centres, inside the box.

        Returns:
            float (N, ...).
        """
        if self.norm == "linf":
            inside = candidates.clamp(min=images - self.epsilon, max=images + self.epsilon)
        elif self.norm == "l2":
            inside = images + _project_l2(candidates - images, self.epsilon)
        else:
            inside = images + _project_l1(candidates - images, self.epsilon)
        clipped: Tensor = inside.clamp(self.lower, self.upper)
        return clipped

    def distance(self, candidates: Tensor, images: Tensor) -> Tensor:
        """The size of each perturbation in this threat's norm, float (N,)."""
        size: Tensor = (candidates - images).flatten(1).norm(p=self.order, dim=1)
        return size


def _project_l2(delta: Tensor, epsilon: float) -> Tensor:
    flat = delta.flatten(1)
    size: Tensor = flat.norm(dim=1, keepdim=True).clamp(min=1e-12)
    shrunk: Tensor = flat * (epsilon / size).clamp(max=1.0)
    return shrunk.view_as(delta)


def _project_l1(delta: Tensor, epsilon: float) -> Tensor:
    """Euclidean projection onto the L1 ball (Duchi et al., 2008, figure 1), row by row."""
    flat = delta.flatten(1)
    magnitude = flat.abs()
    ordered = magnitude.sort(dim=1, descending=True).values
    excess = ordered.cumsum(dim=1) - epsilon
    ranks = (flat.new_ones(flat.shape[1]).cumsum(0))[None, :]
    active = (ordered * ranks > excess).sum(dim=1, keepdim=True).clamp(min=1)
    threshold = (excess.gather(1, active - 1) / active).clamp(min=0.0)
    return (flat.sign() * (magnitude - threshold).clamp(min=0.0)).view_as(delta)
