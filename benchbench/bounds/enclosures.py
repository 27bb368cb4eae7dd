"""Intervals of every step, and backward linear relaxation between them.

Interval arithmetic is that of Gowal et al. (IBP, 2018), the backward pass that of Zhang et al. (CROWN, NeurIPS 2018, theorem
3.2), slopes are optimised as by Xu et al. (alpha-CROWN, ICLR 2021), and signs of rectifiers enter by Lagrange multipliers as
in Wang et al. (beta-CROWN, NeurIPS 2021, theorem 3.1).

**Rounding.** A sum of n products in float32, in any order, is off by at most n u / (1 - n u) times the sum of their sizes, with
u = 2^-24 (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1; n counts the bias, too). So the network as
evaluated is the real one with an error added to each step, and the bounds hold for every error of that size. The bounds
themselves are computed in float64; an error of 2^-50 times the number of terms covers that, more than eight times its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from benchbench.bounds.curves import can_curve, curved_gain
from benchbench.bounds.hulls import Hull, Lines, hull, relu_lines
from benchbench.bounds.network import Network, Step
from benchbench.bounds.regions import Region

FLOAT32_UNIT = 2.0**-24
_FLOAT64_UNIT = 2.0**-50
_SMALLEST = 2.0**-126  # float32 numbers below it may be flushed to 0
NUMBERS_AT_ONCE = 2**24  # of rows in a backward pass: 128 MiB

Signs = Mapping[int, Tensor]  # of rectifiers, by place: int8 (N, *shape), see `hull`


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """What is bounded: a network on regions of inputs, or its difference quotients.

    Attributes:
        lines: of each rectifier, by place.
        biased: False for difference quotients, where biases cancel.
        rounded: whether the bounds cover float32 evaluation; else they hold in real arithmetic.
    """

    network: Network
    region: Region
    lines: Mapping[int, Lines]
    biased: bool = True
    rounded: bool = True

    def take(self, places: Tensor) -> Problem:
        """The problem on the regions at some places."""
        lines = {place: one.take(places) for place, one in self.lines.items()}
        return replace(self, region=self.region.take(places), lines=lines)

    def error(self, step: Step, size: Tensor, source: Tensor) -> Tensor:
        """The largest rounding error of a step whose absolute terms add up to `size`."""
        rule = 2 if step.slope else 1  # a leaky slope is rounded, too
        roundings = rule if step.affine is None else step.affine.roundings
        terms = source[0].numel() + size[0].numel() + roundings
        found = _FLOAT64_UNIT * terms * size
        if self.rounded and roundings and step.slope != 0:
            relative = roundings * FLOAT32_UNIT / (1 - roundings * FLOAT32_UNIT)
            found = found + relative * size + roundings * _SMALLEST
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Enclosure:
    """Intervals of steps, their rounding errors, and the hulls of rectifiers by place."""

    lower: tuple[Tensor, ...]
    upper: tuple[Tensor, ...]
    errors: tuple[Tensor, ...]
    hulls: Mapping[int, Hull]

    def take(self, places: Tensor) -> Enclosure:
        """The enclosures at some places; hulls are made again by `enclose`."""
        parts = [tuple(one[places] for one in part) for part in (self.lower, self.upper, self.errors)]
        return Enclosure(lower=parts[0], upper=parts[1], errors=parts[2], hulls={})


@torch.no_grad()
def enclose(
    problem: Problem,
    *,
    tighten: bool,
    signs: Signs | None = None,
    known: Enclosure | None = None,
    curved: bool = False,
) -> Enclosure:
    """Intervals of each step from those before it.

    If they `tighten`, inputs of rectifiers are bounded by backward relaxation, too, where intervals leave their sign open.
    `known` intervals of the same problem, with fewer signs, are intersected. See `backward` for `curved`.
    """
    lower, upper = [problem.region.lower], [problem.region.upper]
    errors, hulls = [torch.zeros_like(lower[0])], dict[int, Hull]()
    for place, step in enumerate(problem.network.steps[1:], start=1):
        made = _interval(problem, place, step, lower, upper)
        if known is not None:
            made = torch.maximum(made[0], known.lower[place]), torch.minimum(made[1], known.upper[place]), made[2]
        for kept, new in zip((lower, upper, errors), made):
            kept.append(new)
        for rectifier in problem.network.rectifiers:
            if problem.network.steps[rectifier].sources == (place,):
                lines, sign = problem.lines[rectifier], None if signs is None else signs[rectifier]
                if tighten:
                    so_far = Enclosure(lower=tuple(lower), upper=tuple(upper), errors=tuple(errors), hulls=hulls)
                    lower[place], upper[place] = _tightened(problem, so_far, place, lines, curved)
                hulls[rectifier] = hull(lower[place], upper[place], lines, sign)
                lower[place], upper[place] = hulls[rectifier].lower, hulls[rectifier].upper
    return Enclosure(lower=tuple(lower), upper=tuple(upper), errors=tuple(errors), hulls=hulls)


def point_enclosure(network: Network, inputs: Tensor, *, rounded: bool = True) -> Enclosure:
    """The intervals of rounding errors at given inputs (N, ...)."""
    point = inputs.double()
    return enclose(pose(network, Region(lower=point, upper=point), rounded=rounded), tighten=False)


def pose(network: Network, region: Region, *, rounded: bool) -> Problem:
    """The problem of bounding logits on regions."""
    like = region.lower
    lines = {at: relu_lines(like.new_zeros(len(like), *network.steps[at].shape)) for at in network.rectifiers}
    return Problem(network=network, region=region, lines=lines, rounded=rounded)


def _interval(
    problem: Problem, place: int, step: Step, lower: list[Tensor], upper: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Lower and upper bounds of a step, and its rounding error."""
    low, high = lower[step.sources[0]], upper[step.sources[0]]
    if step.affine is not None:
        affine, middle, half = step.affine, (low + high) / 2, (high - low) / 2
        size = affine.absolute(torch.maximum(low.abs(), high.abs())) + (affine.spread if problem.biased else 0.0)
        error = problem.error(step, size, low)
        centre, width = affine.apply(middle) + (affine.bias if problem.biased else 0.0), affine.absolute(half) + error
        return centre - width, centre + width, error
    if step.slope is not None:
        lines = problem.lines[place]
        least = torch.maximum(low + lines.low_steep, lines.low_flat)
        most = torch.maximum(high + lines.up_steep, lines.up_flat)
        unknown = lines.low_flat.isinf() & (lines.low_flat > 0)
        least = torch.where(unknown, low.clamp(max=0), least)
        least, most = step.slope * low + (1 - step.slope) * least, step.slope * high + (1 - step.slope) * most
        error = problem.error(step, torch.maximum(low.abs(), high.abs()), low)  # also of the lines in float64
        return least - error, most + error, error
    other_low, other_high = lower[step.sources[1]], upper[step.sources[1]]
    least, most = low + other_low, high + other_high
    error = problem.error(
        step, torch.maximum(low.abs(), high.abs()) + torch.maximum(other_low.abs(), other_high.abs()), low
    )
    return least - error, most + error, error


def _tightened(problem: Problem, so_far: Enclosure, place: int, lines: Lines, curved: bool) -> tuple[Tensor, Tensor]:
    """Bounds of a step's output, by backward relaxation where a kink is inside the interval."""
    lower, upper = so_far.lower[place].flatten(1), so_far.upper[place].flatten(1)
    first, last = torch.minimum(lines.low_kink, lines.up_kink), torch.maximum(lines.low_kink, lines.up_kink)
    first = torch.where(first.isfinite(), first, lines.up_kink).flatten(1)
    last = torch.where(last.isfinite(), last, lines.up_kink).flatten(1)
    open_ = (lower < last) & (upper > first)
    count = int(open_.sum(dim=1).max())
    order = open_.double().argsort(dim=1, descending=True, stable=True)[:, :count]
    shape = so_far.lower[place].shape[1:]
    at_once = max(1, NUMBERS_AT_ONCE // (2 * len(lower) * max(step[0].numel() for step in so_far.lower)))
    for chosen in torch.split(order, at_once, dim=1):
        rows = F.one_hot(chosen, lower.shape[1]).double().reshape(*chosen.shape, *shape)
        both = torch.cat([rows, -rows], dim=1)
        least, most = backward(problem, so_far, both, place, curved=curved).chunk(2, dim=1)
        is_open = open_.gather(1, chosen)  # so that an example's bounds do not depend on its batch
        low, high = lower.gather(1, chosen), upper.gather(1, chosen)
        lower = lower.scatter(1, chosen, torch.where(is_open, torch.maximum(low, least), low))
        upper = upper.scatter(1, chosen, torch.where(is_open, torch.minimum(high, -most), high))
    return lower.reshape(-1, *shape), upper.reshape(-1, *shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Multipliers:
    """What is optimised, by rectifier, (N, *shape): slopes in [0, 1], and weights >= 0 of signs."""

    slopes: Mapping[int, Tensor]
    weights: Mapping[int, Tensor]
    signs: Signs


def backward(
    problem: Problem,
    enclosure: Enclosure,
    rows: Tensor,
    place: int,
    chosen: Multipliers | None = None,
    seen: dict[int, Tensor] | None = None,
    *,
    curved: bool = False,
) -> Tensor:
    """Lower bounds (N, R) of linear functions of one step's output.

    `seen` receives the coefficients of the output of each rectifier, (N, R, *shape). If `curved`, the upper bounds of
    rectifiers are lowered, see `benchbench.bounds.curves`: this takes longer.
    """
    pending, total = {place: rows}, rows.new_zeros(rows.shape[:2])
    for at in range(place, 0, -1):
        if at not in pending:
            continue
        row, step = pending.pop(at), problem.network.steps[at]
        before = [row] * len(step.sources)
        if step.affine is not None:
            before = [_by_region(step.affine.transpose(row.flatten(0, 1)), row)]
            if problem.biased:
                total = total + _dot(row, step.affine.bias.expand(step.shape)[None])
        elif step.slope is not None:
            if seen is not None:
                seen[at] = row.detach()
            before[0], added = _through_rectifier(
                row, enclosure.hulls[at], enclosure.errors[at], step.slope, at, chosen
            )
            if curved and can_curve(problem.network, at):
                earlier = problem.network.steps[step.sources[0]].sources[0]
                around = enclosure.lower[earlier], enclosure.upper[earlier]
                chord, error = enclosure.hulls[at], enclosure.errors[step.sources[0]]
                gain = curved_gain(problem.network, at, row, chord, around, error, biased=problem.biased)
                pending[earlier] = pending[earlier] + gain[0] if earlier in pending else gain[0]
                total = total + gain[1]
            total = total + added
        if step.slope is None:
            total = total - _dot(row.abs(), enclosure.errors[at])
        for source, value in zip(step.sources, before):
            pending[source] = pending[source] + value if source in pending else value
    return total + problem.region.least(pending[0]) if 0 in pending else total


def _by_region(flat: Tensor, like: Tensor) -> Tensor:
    return flat.reshape(*like.shape[:2], *flat.shape[1:])


def _dot(rows: Tensor, values: Tensor) -> Tensor:
    return (rows.flatten(2) @ values.expand(len(rows), *values.shape[1:]).flatten(1)[:, :, None])[:, :, 0]


def _through_rectifier(
    row: Tensor, at: Hull, error: Tensor, leak: float, place: int, chosen: Multipliers | None
) -> tuple[Tensor, Tensor]:
    """The rows of a rectifier's input, and what its bounds add.

    The lower bound holds where rows are positive, else the upper one.
    """
    slope = at.slope
    if chosen is not None:
        slope = chosen.slopes[place].clamp(0, 1).clamp(at.least, at.most)
    floor = slope * at.lines.low_steep + (1 - slope) * at.lines.low_flat
    positive, part = row.clamp(min=0), (1 - leak) * at.rise
    before = row * (part + leak)[:, None] + positive * ((1 - leak) * slope - part)[:, None]
    offset, floor = (1 - leak) * at.offset + error, (1 - leak) * floor - error
    added = _dot(row, offset) + _dot(positive, floor - offset)
    if chosen is not None:  # min f >= min f - weight (t - threshold) where t >= threshold, likewise below
        sign = chosen.signs[place]
        weight = sign * chosen.weights[place].clamp(min=0)
        threshold = torch.where(sign > 0, at.lower, at.upper)
        before = before - weight[:, None]
        added = added + (weight * threshold).flatten(1).sum(1)[:, None]
    return before, added
