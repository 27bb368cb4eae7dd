"""Local Lipschitzness from below: a longer search, and the exact limit at the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchbench.bounds.network import Network
from benchbench.bounds.secants import MOST_SIGNED, cone, sign_vectors

Function = Callable[[Tensor], Tensor]  # logits of inputs, both float64

_SHORTEST, _LONGER = 0.01, 1.25  # of the radius: a fifth of the lengths is the whole radius
_STEPS = 8  # of each climb
_MOVED = 0.3  # the share of pixels that are drawn again around the best point
_NEAREST = 1e-300  # the least divisor: the image itself has ratio 0
_GROWTH = 1e-3  # relative; a climb after which the ratio has grown less is idle
_IDLE, _MOST_CLIMBS = 50, 500


def converged_ratios(
    network: Function, images: Tensor, radius: float, *, box: tuple[float, float], draw: Callable[[int], Tensor]
) -> Tensor:
    """Ratios that a search found, float64 (N,), each attained by a pair of points.

    The ratio is ||f(x) - f(x')||_1 / ||x - x'||_inf. A climb goes from a random point to the corner, at a fixed distance that
    is drawn, too, where the linearised ratio is largest, and again from there. Every other climb starts near the best point so
    far: an iterated local search (Lourenco, Martin and Stutzle, 2003). An example is left alone once 50 climbs in a row raised
    its ratio by less than a thousandth.

    Args:
        draw: numbers in [0, 1) by their place in the search, from 0, float (N, ...).
    """
    centre, ratio = images.double(), images.new_zeros(len(images), dtype=torch.float64)
    best, idle = centre, torch.zeros_like(ratio, dtype=torch.int64)
    with torch.no_grad():
        logits = network(centre)
    for climb in range(_MOST_CLIMBS):
        before, start, share = ratio, draw(3 * climb).double(), draw(3 * climb + 2).double()
        share = (_LONGER * share.flatten(1)[:, 0]).clamp(_SHORTEST, 1)
        length = radius * share.view(-1, *[1] * (images.dim() - 1))
        point = (centre + length * (2 * start - 1)).clamp(*box)
        if climb % 2:
            point = torch.where(draw(3 * climb + 1) < _MOVED, point, best)
        for _ in range(_STEPS + 1):
            found, gradient = _ratio(network, centre, logits, point)
            better = (found > ratio) & (idle < _IDLE)
            ratio, best = torch.where(better, found, ratio), torch.where(better.view(length.shape), point, best)
            here, point = point, (centre + length * gradient.sign()).clamp(*box)
            if torch.equal(point, here):
                break
        idle = torch.where((ratio > before * (1 + _GROWTH)) & (idle < _IDLE), 0, idle + 1)
        if bool((idle >= _IDLE).all()):
            break
    return ratio


def _ratio(network: Function, centre: Tensor, logits: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
    """The ratio at a point, and the gradient of its numerator."""
    leaf = point.detach().requires_grad_(True)
    with torch.enable_grad():
        change = (network(leaf) - logits).abs().flatten(1).sum(dim=1)
        (gradient,) = torch.autograd.grad(change.sum(), leaf)
    return change.detach() / (point - centre).abs().flatten(1).amax(dim=1).clamp(min=_NEAREST), gradient


def limit_ratios(network: Network, images: Tensor, *, box: tuple[float, float]) -> Tensor:
    """The limit of the largest ratio as the radius goes to 0, float64 (N,).

    It is the max of s J v over sign vectors s and directions v. Directions stay in the box, so s and -s may give different
    values. It is 0, a trivial lower bound, where a rectifier's input is 0 (the function has a kink at x), and with more
    than ten classes.
    """
    if network.classes > MOST_SIGNED:
        return images.new_zeros(len(images), dtype=torch.float64)
    signs = sign_vectors(network.classes, images.device)
    found = []
    for image in images.double():
        leaf = image[None].clone().requires_grad_(True)
        with torch.enable_grad():
            values = network.values(leaf)
            rows = [torch.autograd.grad(logit, leaf, retain_graph=True)[0].flatten() for logit in values[-1][0]]
        region = cone(image[None], image.new_zeros(1), box)
        slopes = signs @ torch.stack(rows)
        limit = (slopes.clamp(min=0) @ region.upper.flatten() + slopes.clamp(max=0) @ region.lower.flatten()).amax()
        kinked = any(bool((values[network.steps[at].sources[0]] == 0).any()) for at in network.rectifiers)
        found.append(limit.new_zeros(()) if kinked else limit)
    return torch.stack(found)
