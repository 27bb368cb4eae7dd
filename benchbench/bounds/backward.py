"""Lower bounds of linear functions of a step, by backward linear relaxation.

The pass is that of Zhang et al. (CROWN, NeurIPS 2018, theorem 3.2), slopes are optimised as by Xu et al. (alpha-CROWN, ICLR
2021), and signs of rectifiers enter by Lagrange multipliers as in Wang et al. (beta-CROWN, NeurIPS 2021, theorem 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchbench.bounds.curves import can_curve, curved_gain
from benchbench.bounds.hulls import Hull
from benchbench.bounds.network import Affine
from benchbench.bounds.problems import Enclosure, Problem
from benchbench.bounds.windows import Window, Windowed

Signs = Mapping[int, Tensor]  # of rectifiers, by place: int8 (N, *shape), see `hull`


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
    window: Window | None = None,
) -> Tensor:
    """Lower bounds (N, R) of linear functions of one step's output.

    `seen` receives the coefficients of the output of each rectifier, (N, R, *shape). If `curved`, the upper bounds of
    rectifiers are lowered, see `benchbench.bounds.curves`: this takes longer. With a `window`, the functions are 0 outside it.
    """
    steps = problem.network.steps
    pending, total = {place: Windowed(inside=rows, window=window)}, rows.new_zeros(rows.shape[:2])
    for at in range(place, 0, -1):
        if at not in pending:
            continue
        held, step = pending.pop(at), steps[at]
        row, before = held.inside, [held] * len(step.sources)
        if step.affine is not None:
            before = [_through_affine(held, step.affine, step.shape, enclosure.lower[step.sources[0]].shape)]
            biases = held.of(step.affine.bias.expand(step.shape))[None]
            total = total + _dot(row, biases) if problem.biased else total
        elif step.slope is not None:
            if seen is not None:
                seen[at] = row.detach()
            if curved:
                total = total + _curved(problem, enclosure, at, held.whole(step.shape), pending)
            around, error = enclosure.hulls[at].within(held.window), held.of(enclosure.errors[at])
            inside, added = _through_rectifier(row, around, error, step.slope, at, chosen)
            before, total = [Windowed(inside=inside, window=held.window)], total + added
        if step.slope is None:
            total = total - _dot(row.abs(), held.of(enclosure.errors[at]))
        for source, value in zip(step.sources, before):
            _add(pending, source, value, steps[source].shape)
    if 0 not in pending:
        return total
    return total + problem.region.within(pending[0].window).least(pending[0].inside)


def _add(pending: dict[int, Windowed], at: int, more: Windowed, shape: tuple[int, ...]) -> None:
    pending[at] = pending[at].plus(more, shape) if at in pending else more


def _curved(problem: Problem, enclosure: Enclosure, at: int, row: Tensor, pending: dict[int, Windowed]) -> Tensor:
    """What curved upper bounds of a rectifier add to the bounds; to `pending`, the coefficients."""
    if not can_curve(problem.network, at):
        return row.new_zeros(())
    source = problem.network.steps[at].sources[0]
    earlier = problem.network.steps[source].sources[0]
    around = enclosure.lower[earlier], enclosure.upper[earlier]
    chord, error = enclosure.hulls[at], enclosure.errors[source]
    gain, added = curved_gain(problem.network, at, row, chord, around, error, biased=problem.biased)
    _add(pending, earlier, Windowed(inside=gain), problem.network.steps[earlier].shape)
    return added


def _through_affine(held: Windowed, affine: Affine, shape: tuple[int, ...], source: torch.Size) -> Windowed:
    """The coefficients of the source of an affine step."""
    if held.window is None or affine.local is None:
        row = held.whole(shape)
        return Windowed(inside=_by_region(affine.transpose(row.flatten(0, 1)), row))
    inside = _by_region(affine.local(held.inside.flatten(0, 1)), held.inside)
    return held.moved(inside, affine.stride, affine.padding, source)


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
