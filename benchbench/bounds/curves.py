"""Curved upper bounds of rectifiers: chords, lowered between their ends.

A chord from l to u is far above a convex q(t) in between. There q(t) <= chord(t) - k (u - t)(t - l) for every k of at most
min(rise, 1 - rise) / (u - l): both sides agree at l and u, and the slope of the right one stays in [0, 1]. So a linear
function with coefficients -a of q gains g = sum of w (u - t)(t - l), w = a k. The inputs t are affine in the output y of an
earlier step, t = c + A (y - m), where m is the middle of the interval of y. With e = A (y - m),

    g = sum of w (u - c)(c - l) + w (u + l - 2 c) e - w e^2,    and    sum of w e^2 <= n L,

where n is the size of y, h its half width, and L the largest eigenvalue of diag(h) A' diag(w) A diag(h). What is left is
linear in y. It is weak duality of the relaxation of Raghunathan, Steinhardt, Liang ("Semidefinite relaxations for certifying
robustness to adversarial examples", 2018, section 4), layer by layer, with one multiplier for all (y - m)^2 <= h^2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchbench.bounds.hulls import Hull
from benchbench.bounds.network import Network

_LARGEST = 256  # numbers of a step; with more, matrices take too long
_NUMBERS_AT_ONCE = 2**22  # of matrices: 32 MiB
_SQUARINGS = 3
_NARROWEST = 2.0**-16  # half width over size, below which an interval counts as wider
_ROUNDING = 2.0**-44  # more than eight times the error of float64, relative to sums of at most `_LARGEST` terms


def can_curve(network: Network, at: int) -> bool:
    """Whether a rectifier's input is an affine map of another step, and both are small."""
    place = network.steps[at].sources[0]
    source, affine = network.steps[place].sources, network.steps[place].affine
    return affine is not None and all(math.prod(network.steps[one].shape) <= _LARGEST for one in (place, *source))


def curved_gain(
    network: Network, at: int, row: Tensor, hull: Hull, intervals: tuple[Tensor, Tensor], error: Tensor, *, biased: bool
) -> tuple[Tensor, Tensor]:
    """What the curves of a rectifier add to its chords, where it `can_curve`.

    The row holds coefficients (N, R, *shape) of its output; the result those of its input's source, and a constant (N, R).
    """
    steps = network.steps
    place = steps[at].sources[0]
    affine, source = steps[place].affine, steps[place].sources[0]
    bend = (1 - (steps[at].slope or 0.0)) * _bend(hull).flatten(1)
    bent = bend.argsort(dim=1, descending=True, stable=True)[:, : int((bend > 0).sum(dim=1).max())]

    def pick(numbers: Tensor) -> Tensor:
        """Those of the neurons that bend, (N, 1, M)."""
        return numbers.flatten(1).gather(1, bent)[:, None]

    lower, upper = (one.flatten(1)[:, None] for one in intervals)
    matrix, middle, reach = (
        network.matrix(place)[bent],
        (lower + upper) / 2,
        torch.maximum(lower.abs(), upper.abs()),
    )
    low, high, error = pick(hull.lower), pick(hull.upper), pick(error)
    weight = row.flatten(2).gather(2, bent[:, None].expand(-1, row.shape[1], -1)).clamp(max=0).neg() * pick(bend)
    centre = middle @ matrix.transpose(1, 2)
    if biased and affine is not None:
        centre = centre + affine.bias.expand(steps[place].shape).flatten()[bent][:, None]
    half = (upper - lower) / 2
    width = torch.maximum(half, _NARROWEST * reach).clamp(min=1e-100)
    lost = _largest_eigenvalues(weight, matrix * width) * (half / width).square().sum(dim=2)
    size = reach @ matrix.abs().transpose(1, 2) + high.abs() + low.abs() + centre.abs()
    slack = (weight * size * (8 * error + _ROUNDING * size)).sum(dim=2) + _ROUNDING * lost
    value = (weight * (high - centre) * (centre - low)).sum(dim=2) - lost - slack
    slope = ((weight * (high + low - 2 * centre)) @ matrix).masked_fill((value <= 0)[..., None], 0.0)
    constant = value.clamp(min=0) - (slope * middle).sum(dim=2)
    return slope.reshape(*row.shape[:2], *steps[source].shape), constant


def _bend(hull: Hull) -> Tensor:
    """The largest k of each neuron; 0 where no kink is inside."""
    least = torch.minimum(hull.rise, 1 - hull.rise)
    return torch.where(least > 0, least / (hull.upper - hull.lower).clamp(min=1e-300), 0.0)


def _largest_eigenvalues(weight: Tensor, matrix: Tensor) -> Tensor:
    """Upper bounds (N, R) of the largest eigenvalues of B B', B = diag(sqrt(weight)) matrix.

    Each is the 16th root of the trace of its 16th power. Weights (N, R, M) are at least 0, matrices are (N, M, n).
    """
    inner, found = matrix @ matrix.transpose(1, 2), []
    for some in torch.split(weight, max(1, _NUMBERS_AT_ONCE // max(1, inner.numel())), dim=1):
        root = some.sqrt()
        product = root[..., None] * inner[:, None] * root[:, :, None]
        trace = product.diagonal(dim1=2, dim2=3).sum(dim=2)
        power = (product / trace.clamp(min=1e-300)[..., None, None]).flatten(0, 1)
        for _ in range(_SQUARINGS):
            power = power @ power
        sums = power.square().sum(dim=(1, 2)).view_as(trace)
        found.append(trace * sums ** (0.5 ** (_SQUARINGS + 1)) * (1 + 2.0**-30))
    return torch.cat(found, dim=1)
