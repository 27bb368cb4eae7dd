"""Local Lipschitzness from above, by relaxation of difference quotients.

The value is sup of ||f(x) - f(x')||_1 / ||x - x'||_inf over x' in the ball and the box. With x' = x + r v, 0 < r <= epsilon
and ||v||_inf = 1, the ratio is the largest of s . (f(x') - f(x)) / r over the sign vectors s. As x is fixed, each step maps
difference quotients to difference quotients: an affine map loses its bias, and a ReLU becomes q(t) = (relu(z + r t) -
relu(z)) / r (see `quotient_lines`). So backward relaxation bounds the secant itself, not the Jacobian at every point of the
ball. All bounds here hold in real arithmetic.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from benchbench.bounds.backward import backward
from benchbench.bounds.branching import Effort, Search, whole
from benchbench.bounds.enclosures import enclose, point_enclosure
from benchbench.bounds.hulls import quotient_lines
from benchbench.bounds.network import Network
from benchbench.bounds.problems import Problem
from benchbench.bounds.regions import Region

MOST_SIGNED = 10  # classes whose sign vectors are all bounded, 1,024; with more, each logit alone
_SPANS = (0.0, 0.35, 0.7, 1.0)  # of the radius
_ENOUGH = 1.0005  # times the value from below
_OUTWARD = 1 + 2.0**-40


def secant_bounds(
    network: Network, images: Tensor, radius: float, effort: Effort, *, box: tuple[float, float], below: Tensor
) -> Tensor:
    """Upper bounds of the local Lipschitzness at images (N, ...), float64 (N,).

    The search ends at an example where the bound is within a thousandth of `below`, a lower bound (N,).
    """
    signs = sign_vectors(network.classes, images.device)
    return torch.cat(
        [
            _Around(network, image[None], radius, box).bound(signs, float(low), effort)
            for image, low in zip(images, below)
        ]
    )


def sign_vectors(classes: int, device: torch.device) -> Tensor:
    """All vectors of +1 and -1, float64 (2^classes, classes); of many classes one logit each."""
    if classes > MOST_SIGNED:
        identity = torch.eye(classes, dtype=torch.float64, device=device)
        return torch.cat([identity, -identity])
    bits = torch.arange(2**classes, device=device)[:, None] >> torch.arange(classes, device=device)
    return (2 * (bits & 1) - 1).double()


def cone(image: Tensor, least: Tensor, box: tuple[float, float]) -> Region:
    """The directions v, ||v||_inf <= 1, with x + r v in the box for some r >= least (N,).

    Where a pixel is 0, only upward ones count.
    """
    shape = (-1, *[1] * (image.dim() - 1))
    room = [(side - image.double()).expand(len(least), *image.shape[1:]) / least.view(shape) for side in box]
    free = [torch.where(side.isnan(), 0.0, side) * _OUTWARD for side in room]  # 0 / 0, at the box for every radius
    return Region(lower=free[0].clamp(min=-1, max=0), upper=free[1].clamp(min=0, max=1))


class _Around:
    """Difference quotients around one image."""

    def __init__(self, network: Network, image: Tensor, radius: float, box: tuple[float, float]) -> None:
        self._network, self._image, self._radius, self._box = network, image, radius, box
        inside = point_enclosure(network, image, rounded=False)  # with the rounding errors of z
        sources = {at: network.steps[at].sources[0] for at in network.rectifiers}
        self._inputs = {at: (inside.lower[source], inside.upper[source]) for at, source in sources.items()}

    def pose(self, spans: Tensor) -> Problem:
        """The quotients at radii in spans (N, 2)."""
        lines = {
            at: quotient_lines(
                lower.expand(len(spans), *lower.shape[1:]),
                upper.expand(len(spans), *upper.shape[1:]),
                spans[:, 0],
                spans[:, 1],
            )
            for at, (lower, upper) in self._inputs.items()
        }
        region = cone(self._image, spans[:, 0], self._box)
        return Problem(network=self._network, region=region, lines=lines, biased=False, rounded=False)

    def bound(self, signs: Tensor, below: float, effort: Effort) -> Tensor:
        """The upper bound, float64 (1,)."""
        ends = signs.new_tensor(_SPANS) * self._radius
        spans = torch.stack([ends[:-1], ends[1:]], dim=1)
        problem = self.pose(spans)
        first = enclose(problem, tighten=True)
        last, several = len(self._network.steps) - 1, torch.split(signs, first.rows_at_once)
        values = -torch.cat([backward(problem, first, -s.expand(len(spans), *s.shape), last) for s in several], dim=1)
        if self._network.classes > MOST_SIGNED:
            per_logit = torch.maximum(*values.chunk(2, dim=1)).sum(dim=1)
            return per_logit.amax(dim=0, keepdim=True)
        if not self._network.rectifiers:
            return values.amax()[None]
        deadline = math.inf if effort.seconds is None else time.monotonic() + effort.seconds
        alive = values.amax(dim=0) > below
        if not alive.any():
            return ends.new_tensor([below])
        rows = -signs[alive].expand(len(spans), -1, -1)
        parts = whole(self._network, rows, -values[:, alive], spans)
        known = enclose(problem, tighten=True, known=first, curved=True) if effort.branches else first
        search = Search(pose=self.pose, known=known, effort=effort, deadline=deadline)
        return -ends.new_tensor([search.least(parts, -_ENOUGH * below)]).clamp(max=-below)
