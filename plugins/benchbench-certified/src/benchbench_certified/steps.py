"""One layer's rules: intervals go forward through it, linear lower bounds go back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

Pull = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Bounds of each number, float (N, ...)."""

    lower: Tensor
    upper: Tensor

    @property
    def centre(self) -> Tensor:
        """The middle."""
        return (self.lower + self.upper) / 2

    @property
    def radius(self) -> Tensor:
        """Half of the width."""
        return (self.upper - self.lower) / 2

    def least(self, rows: Tensor) -> Tensor:
        """Smallest value (C, N) of linear functions, coefficients (C, N, ...), in the interval."""
        terms = rows * self.centre - rows.abs() * self.radius
        return terms.flatten(2).sum(dim=2)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a layer makes of its sources.

    Attributes:
        interval: of its output.
        sources: positions of the steps whose outputs it takes; a sum has two.
        pull: takes coefficients (C, N, *shape) of a lower bound that is linear in the output. Returns those of a lower bound in
            each source, and what is added, (C, N). None for a layer without relaxation.
        mixes: whether it is a dense layer or a convolution.
    """

    interval: Interval
    sources: tuple[int, ...] = ()
    pull: Pull | None = None
    mixes: bool = False


def around(centre: Tensor, radius: Tensor) -> Interval:
    """The interval with this centre and radius."""
    return Interval(lower=centre - radius, upper=centre + radius)


def dense(taken: Interval, weight: Tensor, bias: Tensor | None) -> tuple[Interval, Pull]:
    """W x + b: the radius grows by |W| (Gowal et al., equation 6)."""
    interval = around(F.linear(taken.centre, weight, bias), F.linear(taken.radius, weight.abs()))

    def pull(rows: Tensor) -> tuple[Tensor, Tensor]:
        return rows @ weight, rows.new_zeros(rows.shape[:2]) if bias is None else (rows * bias).flatten(2).sum(dim=2)

    return interval, pull


def convolved(taken: Interval, layer: nn.Conv2d) -> tuple[Interval, Pull]:
    """A convolution with zeros as padding, by the same rule."""
    padding = layer.padding if isinstance(layer.padding, tuple) else (0, 0)  # a word is refused before
    form = (layer.stride, padding, layer.dilation, layer.groups)
    weight, bias, shape = layer.weight, layer.bias, taken.lower.shape[1:]
    radius = F.conv2d(taken.radius, weight.abs(), None, *form)
    interval = around(F.conv2d(taken.centre, weight, bias, *form), radius)

    def pull(rows: Tensor) -> tuple[Tensor, Tensor]:
        flat = rows.flatten(0, 1)
        back = conv2d_input((len(flat), *shape), weight, flat, *form)  # type: ignore[no-untyped-call]
        added = rows.new_zeros(rows.shape[:2]) if bias is None else rows.sum(dim=(3, 4)) @ bias
        return back.unflatten(0, rows.shape[:2]), added

    return interval, pull


def scaled(taken: Interval, scale: Tensor, shift: Tensor) -> tuple[Interval, Pull]:
    """Scale x + shift, number by number; both broadcast to (N, ...)."""
    interval = around(taken.centre * scale + shift, taken.radius * scale.abs())

    def pull(rows: Tensor) -> tuple[Tensor, Tensor]:
        return rows * scale, (rows * shift).flatten(2).sum(dim=2)

    return interval, pull


def rectified(taken: Interval, slope: float) -> tuple[Interval, Pull]:
    """max(x, slope x), between two lines where the sign is open (Zhang et al., 2020, section 3).

    The upper line is the chord. The lower line has the slope of the side that is longer, so it is 1 if u > -l.
    """
    lower, upper = taken.lower, taken.upper
    interval = Interval(lower=F.leaky_relu(lower, slope), upper=F.leaky_relu(upper, slope))
    open_sign = (lower < 0) & (upper > 0)
    sure = torch.where(lower >= 0, 1.0, slope).to(lower)
    rise = torch.where(open_sign, (interval.upper - interval.lower) / (upper - lower).clamp(min=1e-30), sure)
    offset = torch.where(open_sign, interval.upper - rise * upper, torch.zeros_like(upper))
    below = torch.where(open_sign, torch.where(upper > -lower, 1.0, slope).to(lower), sure)

    def pull(rows: Tensor) -> tuple[Tensor, Tensor]:
        positive, negative = rows.clamp(min=0), rows.clamp(max=0)
        return positive * below + negative * rise, (negative * offset).flatten(2).sum(dim=2)

    return interval, pull


def reshaped(taken: Interval, change: Callable[[Tensor], Tensor]) -> tuple[Interval, Pull]:
    """The same numbers in the same order, in another shape."""
    shape = taken.lower.shape[1:]

    def pull(rows: Tensor) -> tuple[Tensor, Tensor]:
        return rows.reshape(*rows.shape[:2], *shape), rows.new_zeros(rows.shape[:2])

    return Interval(lower=change(taken.lower), upper=change(taken.upper)), pull


def added(first: Interval, second: Interval) -> tuple[Interval, Pull]:
    """The sum of two results of equal shape."""

    def pull(rows: Tensor) -> tuple[Tensor, Tensor]:
        return rows, rows.new_zeros(rows.shape[:2])

    return Interval(lower=first.lower + second.lower, upper=first.upper + second.upper), pull
