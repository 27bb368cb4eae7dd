"""Linear lower and upper bounds of a rectifier, or of its difference quotient."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from benchbench.bounds.windows import Window


@dataclass(frozen=True, kw_only=True, eq=False)
class Lines:
    """max(t + low_steep, low_flat) <= q(t) <= max(t + up_steep, up_flat), each (N, *shape).

    Of a ReLU all four are 0. See `quotient_lines` for difference quotients.
    """

    low_steep: Tensor
    low_flat: Tensor
    up_steep: Tensor
    up_flat: Tensor

    def take(self, places: Tensor) -> Lines:
        """The lines at some places, int64."""
        return replace(self, **{field.name: getattr(self, field.name)[places] for field in fields(self)})

    def within(self, window: Window | None) -> Lines:
        """The lines in a window."""
        if window is None:
            return self
        return replace(self, **{field.name: window.of(getattr(self, field.name)) for field in fields(self)})

    @property
    def low_kink(self) -> Tensor:
        """Where the lower bound has its kink."""
        return self.low_flat - self.low_steep

    @property
    def up_kink(self) -> Tensor:
        """Where the upper bound has its kink."""
        return self.up_flat - self.up_steep


@dataclass(frozen=True, kw_only=True, eq=False)
class Hull:
    """Linear bounds of q on [lower, upper]; the lower one has any slope in [least, most].

    ``slope (t + lines.low_steep) + (1 - slope) lines.low_flat <= q(t) <= rise t + offset``: the upper bound is the chord of a
    convex function, the lower ones are weighted means of two lines (the triangle of Ehlers, 2017; Zhang et al., CROWN, 2018).
    """

    lower: Tensor
    upper: Tensor
    lines: Lines
    least: Tensor
    most: Tensor
    slope: Tensor  # the default: the lower bound with the smaller area
    rise: Tensor
    offset: Tensor

    def within(self, window: Window | None) -> Hull:
        """The bounds in a window."""
        if window is None:
            return self
        names = (field.name for field in fields(self) if field.name != "lines")
        return replace(
            self, lines=self.lines.within(window), **{name: window.of(getattr(self, name)) for name in names}
        )

    @property
    def height(self) -> Tensor:
        """How far the chord is above the kink of the upper bound; 0 if there is none inside."""
        kink = self.lines.up_kink
        inside = (self.lower < kink) & (kink < self.upper)
        return torch.where(inside, self.rise * kink + self.offset - self.lines.up_flat, 0.0)


def relu_lines(like: Tensor) -> Lines:
    """The lines of ReLU."""
    zero = torch.zeros_like(like)
    return Lines(low_steep=zero, low_flat=zero, up_steep=zero, up_flat=zero)


def quotient_lines(lower: Tensor, upper: Tensor, least: Tensor, most: Tensor) -> Lines:
    """The lines of q(t) = (relu(z + r t) - relu(z)) / r.

    Here z is in [lower, upper] and r in (least, most]. For z > 0 it is max(t, -z / r), for z < 0 it is max(t + z / r, 0):
    increasing and convex in t, with the kink at -z / r, which lies furthest out for the smallest r. As r -> 0 only one of
    the lines is left. If the sign of z is not known, q is between min(t, 0) and max(t, 0); then low_steep is -inf and
    low_flat is inf, and `hull` takes the bounds that follow.

    Args:
        lower: (N, *shape), at least the rounding error below z; `upper` likewise above.
        least: (N,), the smallest radius, at least 0; `most`, (N,), the largest one, above 0.
    """
    shape = (-1, *[1] * (lower.dim() - 1))
    small, large = least.view(shape), most.view(shape)
    positive, negative = lower > 0, upper < 0
    furthest = torch.where(negative, -lower, -upper) / small  # -z / r, inf or -inf where r = 0
    nearest = torch.where(negative, -upper, -lower) / large
    zero = torch.zeros_like(lower)
    known = positive | negative
    return Lines(
        low_steep=torch.where(negative, -furthest, zero).where(known, zero - math.inf),
        low_flat=torch.where(positive, furthest, zero).where(known, zero + math.inf),
        up_steep=torch.where(negative, -nearest, zero),
        up_flat=torch.where(positive, nearest, zero),
    )


def hull(lower: Tensor, upper: Tensor, lines: Lines, signs: Tensor | None = None) -> Hull:
    """Linear bounds on [lower, upper].

    Where `signs` is 1, z + r t is at least 0, so that q(t) lies on the steep lines and t is above the first kink; where it is
    -1, z + r t is at most 0, q(t) lies on the flat lines and t is below the last kink.
    """
    unknown = (lines.low_steep == -math.inf) & (lines.low_flat == math.inf)  # min(t, 0) >= t - upper and >= lower
    low_steep = torch.where(unknown, -upper.clamp(min=0), lines.low_steep)
    low_flat = torch.where(unknown, lower.clamp(max=0), lines.low_flat)
    low_kink, up_kink = low_flat - low_steep, lines.up_kink
    active = inactive = torch.zeros_like(lower, dtype=torch.bool)
    if signs is not None:
        active, inactive = (signs > 0) & ~unknown, (signs < 0) & ~unknown
        lower = torch.where(active, torch.maximum(lower, torch.minimum(low_kink, up_kink)), lower)
        upper = torch.where(inactive, torch.minimum(upper, torch.maximum(low_kink, up_kink)), upper)
    flat, steep = inactive | (upper <= up_kink), active | (lower >= up_kink)
    rise = torch.where(steep, 1.0, torch.where(flat, 0.0, (upper - up_kink) / (upper - lower).clamp(min=1e-300)))
    offset = torch.where(steep, lines.up_steep, torch.where(flat, lines.up_flat, lines.up_flat - rise * lower))
    least = (active | (lower >= low_kink)).double()
    most = (upper > low_kink).double().maximum(least)
    slope = torch.where(upper - low_kink > low_kink - lower, most, least)
    finite = Lines(
        low_steep=torch.where(low_steep.isfinite(), low_steep, 0.0),  # an infinite one has weight 0
        low_flat=torch.where(low_flat.isfinite(), low_flat, 0.0),
        up_steep=lines.up_steep,
        up_flat=lines.up_flat,
    )
    return Hull(lower=lower, upper=upper, lines=finite, least=least, most=most, slope=slope, rise=rise, offset=offset)
