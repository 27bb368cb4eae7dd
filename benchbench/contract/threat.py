"""The threat model: a norm ball around each image, intersected with the box of valid pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

from benchbench.errors import OptionError, suggest

Norm = Literal["linf", "l2", "l1"]
NO_BALL = "in a ball of radius 0 there is nothing to attack, and robust accuracy would be plain accuracy"
NORMS: tuple[Norm, ...] = get_args(Norm)
FLOAT32_STEP = 2.0**-22  # twice the spacing of float32 numbers just below 2, to which x + epsilon is rounded
RELATIVE_TOLERANCE = 1e-5  # of epsilon, for norms that an attack summed up in float32


@dataclass(frozen=True, kw_only=True, init=False)
class Threat:
    """B(x, epsilon) in a norm, intersected with [lower, upper]^d.

    Attributes:
        norm: ``"linf"``, ``"l2"`` or ``"l1"``.
        epsilon: radius in the units of the inputs (pixels / 255), at least 0; the text ``"8/255"`` is accepted.
        lower: smallest valid input value; -inf for inputs without a box.
        upper: largest valid input value; inf for inputs without a box.

    Raises:
        OptionError: for an unknown norm, a negative or non-finite epsilon, or an empty box.
    """

    norm: Norm = "linf"
    epsilon: float
    lower: float = 0.0
    upper: float = 1.0

    def __init__(self, *, norm: Norm = "linf", epsilon: float | str, lower: float = 0.0, upper: float = 1.0) -> None:
        if norm not in NORMS:
            raise OptionError(f"unknown norm {norm!r}", hint=suggest(str(norm), NORMS))
        radius = parse_number(epsilon) if isinstance(epsilon, str) else _number("epsilon", epsilon)
        lower, upper = _number("lower", lower), _number("upper", upper)
        if not (math.isfinite(radius) and radius >= 0):
            raise OptionError(f"epsilon must be a finite number of at least 0, got {epsilon!r}")
        if not lower < upper:
            raise OptionError(f"the box [{lower}, {upper}] is empty")
        for name, value in (("norm", norm), ("epsilon", radius), ("lower", lower), ("upper", upper)):
            object.__setattr__(self, name, value)

    @property
    def order(self) -> float:
        """The p of the norm: inf, 2 or 1."""
        return {"linf": math.inf, "l2": 2.0, "l1": 1.0}[self.norm]

    def project(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Project candidates onto the ball around the images, then clip to the box.

        For L-inf this is the exact projection onto the intersection. For L2 and L1 the result lies in both sets (clipping
        towards a centre inside the box never leaves the ball), but need not be the nearest such point. Candidates are float (N,
        ...), images likewise, inside the box.
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
        """Norm of each perturbation, float (N,)."""
        size: Tensor = (candidates - images).flatten(1).norm(p=self.order, dim=1)
        return size


def tolerance(threat: Threat, dimension: int) -> float:
    """How far beyond epsilon a candidate may lie, as float32 rounds x + delta.

    Coordinates are as large as the finite bounds of the box, at least 1. For L-inf and images this is about 2.4e-7 + 1e-5
    epsilon; for L2 and L1 at most sqrt(dimension) and dimension times as much.
    """
    bounds = [abs(bound) for bound in (threat.lower, threat.upper) if math.isfinite(bound)]
    growth = {"linf": 1.0, "l2": math.sqrt(dimension), "l1": float(dimension)}[threat.norm]
    return FLOAT32_STEP * max([1.0, *bounds]) * growth + RELATIVE_TOLERANCE * threat.epsilon


def parse_number(text: str) -> float:
    """Parse a number such as ``0.03``, or a fraction such as ``8/255``; else raise OptionError.

    >>> parse_number("8/255") == 8 / 255
    True
    """
    numerator, slash, denominator = text.partition("/")
    try:
        return float(numerator) / float(denominator) if slash else float(numerator)
    except (ValueError, ZeroDivisionError) as error:
        raise OptionError(f"expected a number or a fraction such as 8/255, got {text!r}") from error


def _number(name: str, value: object) -> float:
    """A value as a Python number: no row can hold those of NumPy or torch. Else OptionError."""
    if isinstance(value, bool) or not hasattr(value, "__float__") or getattr(value, "ndim", 0) > 0:
        raise OptionError(f"{name} must be one number, got {value!r}")
    return value if isinstance(value, (int, float)) else float(value)


def check_radius(threat: Threat, input_shape: Sequence[int]) -> None:
    """Raise an OptionError unless the radius is above 0 and at most the box allows.

    That distance is the box's width in L-inf, the width times sqrt(dimension) in L2 and times the dimension in L1, for inputs
    of `input_shape`, for instance (3, 32, 32).
    """
    if threat.epsilon == 0:
        raise OptionError(f"epsilon must be above 0: {NO_BALL}")
    dimension = math.prod(input_shape)
    growth = {"linf": 1.0, "l2": math.sqrt(dimension), "l1": float(dimension)}[threat.norm]
    limit = (threat.upper - threat.lower) * growth
    if threat.epsilon > limit:
        of_pixels = (threat.lower, threat.upper) == (0.0, 1.0) and threat.epsilon <= 255 * limit
        at_most = f"a radius is in the units of the inputs, here at most {limit:g}"
        raise OptionError(
            f"epsilon {threat.epsilon:g} is beyond the box: no two inputs in [{threat.lower:g}, {threat.upper:g}] are more "
            f"than {limit:g} apart in {threat.norm}",
            hint=f"did you mean {threat.epsilon:g}/255?" if of_pixels else at_most,
        )


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
