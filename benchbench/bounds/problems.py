"""What is bounded, and the intervals of its steps, with rounding errors.

**Rounding.** A sum of n products in float32, in any order, is off by at most n u / (1 - n u) times the sum of their sizes, with
u = 2^-24 (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1; n counts the bias, too). So the network as
evaluated is the real one with an error added to each step, and the bounds hold for every error of that size. The bounds
themselves are computed in float64; an error of 2^-50 times the number of terms covers that, more than eight times its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from benchbench.bounds.hulls import Hull, Lines, relu_lines
from benchbench.bounds.network import Network, Step
from benchbench.bounds.regions import Region

FLOAT32_UNIT = 2.0**-24
_FLOAT64_UNIT = 2.0**-50
_NUMBERS_AT_ONCE = 2**24  # of rows in a backward pass: 128 MiB
_SMALLEST = 2.0**-126  # float32 numbers below it may be flushed to 0


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

    @property
    def rows_at_once(self) -> int:
        """How many linear functions to bound together, so that memory is bounded."""
        return max(1, _NUMBERS_AT_ONCE // (len(self.lower[0]) * max(step[0].numel() for step in self.lower)))

    def take(self, places: Tensor) -> Enclosure:
        """The enclosures at some places; hulls are made again by `enclose`."""
        parts = [tuple(one[places] for one in part) for part in (self.lower, self.upper, self.errors)]
        return Enclosure(lower=parts[0], upper=parts[1], errors=parts[2], hulls={})


def pose(network: Network, region: Region, *, rounded: bool) -> Problem:
    """The problem of bounding logits on regions."""
    like = region.lower
    lines = {at: relu_lines(like.new_zeros(len(like), *network.steps[at].shape)) for at in network.rectifiers}
    return Problem(network=network, region=region, lines=lines, rounded=rounded)
