"""Intervals of every step, by interval arithmetic (Gowal et al., IBP, 2018) and `backward`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from benchbench.bounds.backward import Signs, backward
from benchbench.bounds.hulls import Hull, Lines, hull
from benchbench.bounds.network import Network, Step
from benchbench.bounds.problems import Enclosure, Problem, pose
from benchbench.bounds.regions import Region
from benchbench.bounds.windows import Window, neurons_by_place


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
    lower, upper = so_far.lower[place].flatten(1).clone(), so_far.upper[place].flatten(1).clone()
    first, last = torch.minimum(lines.low_kink, lines.up_kink), torch.maximum(lines.low_kink, lines.up_kink)
    first = torch.where(first.isfinite(), first, lines.up_kink).flatten(1)
    last = torch.where(last.isfinite(), last, lines.up_kink).flatten(1)
    open_ = (lower < last) & (upper > first)
    shape = so_far.lower[place].shape[1:]
    batches = _by_place if len(shape) > 2 else _by_example  # an image's channels and places
    for chosen, both, window in batches(open_, shape, max(1, so_far.rows_at_once // 2)):
        bounds = backward(problem, so_far, both, place, curved=curved and window is None, window=window)
        least, most = bounds.chunk(2, dim=1)
        is_open = open_.gather(1, chosen)  # so that an example's bounds do not depend on its batch
        low, high = lower.gather(1, chosen), upper.gather(1, chosen)
        lower.scatter_(1, chosen, torch.where(is_open, torch.maximum(low, least), low))
        upper.scatter_(1, chosen, torch.where(is_open, torch.minimum(high, -most), high))
    return lower.reshape(-1, *shape), upper.reshape(-1, *shape)


def _by_example(open_: Tensor, shape: torch.Size, at_once: int) -> Iterator[tuple[Tensor, Tensor, None]]:
    """The open neurons of each example, int64 (N, K), and the rows of both their bounds."""
    count = int(open_.sum(dim=1).max())
    order = open_.double().argsort(dim=1, descending=True, stable=True)[:, :count]
    for chosen in torch.split(order, at_once, dim=1):
        rows = F.one_hot(chosen, open_.shape[1]).double().reshape(*chosen.shape, *shape)
        yield chosen, torch.cat([rows, -rows], dim=1), None


def _by_place(open_: Tensor, shape: torch.Size, at_once: int) -> Iterator[tuple[Tensor, Tensor, Window]]:
    """Like `_by_example`, where a neuron depends on a window of each step before it."""
    for neurons, units, window in neurons_by_place(open_.any(dim=0).reshape(shape)):
        for chosen, rows in zip(torch.split(neurons, at_once), torch.split(units, at_once)):
            both = torch.cat([rows, -rows]).expand(len(open_), *[-1] * rows.dim())
            yield chosen.expand(len(open_), -1), both, window
