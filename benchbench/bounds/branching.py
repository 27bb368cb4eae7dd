"""Lower bounds by optimised slopes, and by branch and bound over the signs of rectifiers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchbench.bounds.backward import Multipliers, Signs, backward
from benchbench.bounds.enclosures import enclose
from benchbench.bounds.network import Network
from benchbench.bounds.problems import Enclosure, Problem
from benchbench.kernels.optimizers import uncompiled

_RATE, _DECAY = 0.1, 0.97  # of Adam, per step
_NARROW, _POINT = 0.8, 0.999  # of radii: the smallest over the largest
_NONE, _FRESH = -1, -2
_ROWS_AT_ONCE = 16  # the worst functions of a part; the other ones keep the bounds of the part it was split from
_OF_LOWER = 0.3  # what the slack of a lower bound counts, as its slope is optimised
_NEURONS_BOUNDED_AGAIN = 2048  # in each part; of larger networks only the first enclosure is computed by relaxation


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long to search, per example.

    Attributes:
        steps: of the optimisation of slopes; 0 keeps the default slopes.
        branches: how many times a part of the domain is split at most.
        seconds: after which no part is split; None for no limit. With a limit, results depend on the machine.
        at_once: parts that are bounded together.
        curved: whether upper bounds of rectifiers are curved, see `benchbench.bounds.curves`.
        exact: seconds of HiGHS for each margin that is still open; 0 for none. See `benchbench.bounds.exact`.
    """

    steps: int = 20
    branches: int = 0
    seconds: float | None = None
    at_once: int = 64
    curved: bool = False
    exact: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """Parts of the domain around one example, each with the function to be bounded there.

    Attributes:
        rows: (N, R, classes), linear functions of the logits, of which the least value is bounded.
        spans: (N, 2), the smallest and the largest radius; not used for margins.
        signs: of rectifiers, by place, int8 (N, *shape).
        values: (N, R), their lower bounds.
        roots: int64 (N,), the place in the search's `known` of intervals that hold there.
        choices: int64 (N,), which neuron to split next, counted through all rectifiers; `_NONE`, or `_FRESH` before the part
            is bounded by optimised slopes.
    """

    rows: Tensor
    spans: Tensor
    signs: Mapping[int, Tensor]
    values: Tensor
    choices: Tensor
    roots: Tensor

    @property
    def least(self) -> Tensor:
        """The least lower bound of each part, (N,)."""
        return self.values.amin(dim=1)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: Tensor) -> Parts:
        """The parts at some places, int64, or where a mask is set."""
        signs = {at: sign[places] for at, sign in self.signs.items()}
        return Parts(
            rows=self.rows[places],
            spans=self.spans[places],
            signs=signs,
            values=self.values[places],
            choices=self.choices[places],
            roots=self.roots[places],
        )

    def join(self, other: Parts) -> Parts:
        """These parts and the other ones."""
        return Parts(
            rows=torch.cat([self.rows, other.rows]),
            spans=torch.cat([self.spans, other.spans]),
            signs={at: torch.cat([sign, other.signs[at]]) for at, sign in self.signs.items()},
            values=torch.cat([self.values, other.values]),
            choices=torch.cat([self.choices, other.choices]),
            roots=torch.cat([self.roots, other.roots]),
        )


def whole(network: Network, rows: Tensor, values: Tensor, spans: Tensor | None = None) -> Parts:
    """Parts without known signs, with bounds `values` (N, R); with spans, one root each."""
    signs = {
        at: torch.zeros(len(rows), *network.steps[at].shape, dtype=torch.int8, device=rows.device)
        for at in network.rectifiers
    }
    choices = torch.full((len(rows),), _FRESH, device=rows.device)
    return Parts(
        rows=rows,
        spans=rows.new_zeros(len(rows), 2) if spans is None else spans,
        signs=signs,
        values=values,
        choices=choices,
        roots=choices * 0 if spans is None else torch.arange(len(rows), device=rows.device),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Optimised:
    """Lower bounds (N, R), and the coefficients of the output of each rectifier, (N, *shape)."""

    values: Tensor
    coefficients: Mapping[int, Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """Branch and bound (Bunel et al., 2018; Wang et al., beta-CROWN, 2021) around one example.

    Attributes:
        pose: the problem on spans (N, 2) of radii.
        known: intervals that hold in parts, by their `roots`.
        effort: how long.
        deadline: by `time.monotonic`.
    """

    pose: Callable[[Tensor], Problem]
    known: Enclosure
    effort: Effort
    deadline: float

    def least(self, parts: Parts, goal: float) -> float:
        """A lower bound of all functions in their parts, the worst parts first.

        Parts above the goal are left alone.
        """
        found, open_, left = math.inf, parts, self.effort.branches
        while True:
            closed = (open_.least > goal) | ((open_.choices == _NONE) & ~_is_wide(open_))
            found = min(found, _least(open_.values[closed]))
            open_ = open_.take(~closed)
            order = open_.least.argsort()
            worst, rest = open_.take(order[: self.effort.at_once // 2]), open_.take(order[self.effort.at_once // 2 :])
            fresh = worst.choices == _FRESH
            if not len(order) or time.monotonic() > self.deadline or (left <= 0 and not bool(fresh[0])):
                return min(found, _least(open_.values))
            split = (~fresh).nonzero()[:left, 0] if left > 0 else order[:0]
            left -= len(split)
            kept = ~fresh
            kept[split] = False
            bounded = self._bound(worst.take(fresh).join(_halves(worst.take(split))), goal)
            open_ = rest.join(worst.take(kept)).join(bounded)

    def _bound(self, parts: Parts, goal: float) -> Parts:
        problem = self.pose(parts.spans)
        small = sum(sign[0].numel() for sign in parts.signs.values()) <= _NEURONS_BOUNDED_AGAIN
        enclosure = enclose(problem, tighten=small, signs=parts.signs, known=self.known.take(parts.roots))
        worst = parts.values.argsort(dim=1)[:, :_ROWS_AT_ONCE]
        rows = parts.rows.gather(1, worst[:, :, None].expand(-1, -1, parts.rows.shape[2]))
        found = optimise(problem, enclosure, rows, parts.signs, self.effort.steps, goal)
        values = found.values
        if self.effort.curved:
            again = backward(problem, enclosure, rows, len(problem.network.steps) - 1, curved=True)
            values = torch.maximum(values, again)
        values = parts.values.scatter_reduce(1, worst, values, "amax")
        empty = torch.stack([(hull.lower > hull.upper).flatten(1).any(dim=1) for hull in enclosure.hulls.values()]).any(
            dim=0
        )
        values = values.masked_fill(empty[:, None], math.inf)
        return replace(parts, values=values, choices=_choose(enclosure, found.coefficients))


def _least(values: Tensor) -> float:
    return float(values.min()) if values.numel() else math.inf


def _is_wide(parts: Parts) -> Tensor:
    """Whether to split the radii first: kinks move far between them, or none is left.

    For margins all radii are 0.
    """
    smallest, largest = parts.spans.unbind(1)
    return (smallest < _NARROW * largest) | ((parts.choices == _NONE) & (smallest < _POINT * largest))


def _halves(parts: Parts) -> Parts:
    """Each part twice, with half of its radii or with one neuron's sign."""
    wide, smallest, largest = _is_wide(parts), parts.spans[:, 0], parts.spans[:, 1]
    middle = (smallest + largest) / 2
    below = torch.stack([smallest, torch.where(wide, middle, largest)], dim=1)
    above = torch.stack([torch.where(wide, middle, smallest), largest], dim=1)
    return _with_sign(replace(parts, spans=below), wide, -1).join(_with_sign(replace(parts, spans=above), wide, 1))


def _with_sign(parts: Parts, wide: Tensor, sign: int) -> Parts:
    flat = torch.cat([signs.flatten(1) for signs in parts.signs.values()], dim=1)
    rows = (~wide).nonzero()[:, 0]
    flat[rows, parts.choices[rows]] = sign
    sizes = [math.prod(signs.shape[1:]) for signs in parts.signs.values()]
    changed = zip(parts.signs.items(), torch.split(flat, sizes, dim=1))
    return replace(parts, signs={at: new.view_as(old) for (at, old), new in changed})


def _choose(enclosure: Enclosure, coefficients: Mapping[int, Tensor]) -> Tensor:
    """The neuron whose chord costs most: coefficient times height of the triangle.

    After BaBSR (Bunel and others, 2020).
    """
    costs = []
    for at, hull in enclosure.hulls.items():
        row = coefficients.get(at)
        weight = torch.zeros_like(hull.height) if row is None else row.clamp(max=0).abs() + _OF_LOWER * row.clamp(min=0)
        costs.append((weight * hull.height).flatten(1))
    most, place = torch.cat(costs, dim=1).max(dim=1)
    return place.masked_fill(most <= 0, _NONE)


def optimise(
    problem: Problem, enclosure: Enclosure, rows: Tensor, signs: Signs, steps: int, enough: float
) -> Optimised:
    """Maximise a lower bound of the least of some linear functions.

    All slopes in [0, 1] and all multipliers of at least 0 give valid bounds, so the best one counts. It ends when every bound
    is above `enough`.
    """
    last, hulls = len(problem.network.steps) - 1, enclosure.hulls
    slopes = {at: hull.slope.clone().requires_grad_(True) for at, hull in hulls.items()}
    weights = {at: torch.zeros_like(hull.slope).requires_grad_(True) for at, hull in hulls.items()}
    variables = [*slopes.values(), *weights.values()]
    adam = uncompiled(torch.optim.Adam)(variables, lr=_RATE)
    best, seen, scales = rows.new_full(rows.shape[:2], -math.inf), dict[int, Tensor](), dict[int, Tensor]()
    places = torch.arange(len(rows), device=rows.device)
    for step in range(steps + 1):
        with torch.set_grad_enabled(step < steps):
            sized = {at: weight * scales.get(at, 1.0) for at, weight in weights.items()}
            chosen = Multipliers(slopes=slopes, weights=sized, signs=signs)
            bounds = backward(problem, enclosure, rows, last, chosen, seen)
            values, row = bounds.min(dim=1)
        best = torch.maximum(best, bounds.detach())
        if not values.requires_grad or bool((best > enough).all()):  # the last step, or no rectifier reaches the logits
            break
        # multipliers are in units of the coefficients, so that scaled logits give scaled bounds
        scales = scales or {
            at: one.abs().flatten(1).amax(1).view(-1, *[1] * (one.dim() - 2)) for at, one in seen.items()
        }
        gradients = torch.autograd.grad(-values.sum(), variables, allow_unused=True)
        for variable, gradient in zip(variables, gradients):
            variable.grad = torch.zeros_like(variable) if gradient is None else gradient
        adam.step()
        adam.param_groups[0]["lr"] *= _DECAY
        with torch.no_grad():
            for at in hulls:
                slopes[at].clamp_(0, 1)
                weights[at].clamp_(min=0)
    return Optimised(values=best, coefficients={at: one[places, row] for at, one in seen.items()})
