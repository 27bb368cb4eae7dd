"""Local Lipschitzness from below: a longer search, and the exact limit at the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchbench.bounds.network import Network
from benchbench.bounds.secants import MOST_SIGNED, cone, sign_vectors

Function = Callable[[Tensor], Tensor]  # logits of inputs, both float64

_LADDER = (1.0, 0.5, 0.2, 0.05, 0.01)  # of the radius: lengths of the steps from the image
_STEPS = 8  # of each climb
_GROWTH = 1e-3  # relative; a round in which no ratio grows more is idle
_IDLE, _MOST_ROUNDS = 3, 60


def converged_ratios(
    network: Function, images: Tensor, radius: float, *, box: tuple[float, float], draw: Callable[[int], Tensor]
) -> Tensor:
    """Ratios that a search found, float64 (N,), each attained by a pair of points.

    The ratio is ||f(x) - f(x')||_1 / ||x - x'||_inf. A climb goes from a random point of the ball to the corner, at a fixed
    distance, where the linearised ratio is largest, and again from there. Rounds of climbs at several distances repeat
    until three in a row raise no ratio by a thousandth.

    Args:
        draw: numbers in [0, 1) of a round, float (N, ...).
    """
    centre, best = images.double(), images.new_zeros(len(images), dtype=torch.float64)
    idle = torch.zeros_like(best, dtype=torch.int64)
    with torch.no_grad():
        logits = network(centre)
    for turn in range(_MOST_ROUNDS):
        before, start = best, draw(turn).double()
        for share in _LADDER:
            length = share * radius
            point = (centre + length * (2 * start - 1)).clamp(*box)
            for _ in range(_STEPS):
                point = _corner(network, centre, logits, point, length, box)
                best = torch.where(idle < _IDLE, torch.maximum(best, _ratio(network, centre, logits, point)), best)
        idle = torch.where((best > before * (1 + _GROWTH)) & (idle < _IDLE), 0, idle + 1)
        if bool((idle >= _IDLE).all()):
            break
    return best


def _corner(
    network: Function, centre: Tensor, logits: Tensor, point: Tensor, length: float, box: tuple[float, float]
) -> Tensor:
    leaf = point.detach().requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad((network(leaf) - logits).abs().sum(), leaf)
    return (centre + length * gradient.sign()).clamp(*box)


@torch.no_grad()
def _ratio(network: Function, centre: Tensor, logits: Tensor, point: Tensor) -> Tensor:
    length = (point - centre).abs().flatten(1).amax(dim=1).clamp(min=1e-300)
    return (network(point) - logits).abs().sum(dim=1) / length


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
