"""Starts and proposals of Square Attack (Andriushchenko et al., ECCV 2020, algorithms 2, 3)."""

from __future__ import annotations

import math
from collections.abc import Callable

from benchbench.builtin.deferred import Tensor, torch
from benchbench.contract import Threat, steepest

FIRST_SHARE = 0.8  # of the pixels, covered by the first squares
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries after which the share halves
_SMALLEST_L2 = 3  # pixels
_TILES = 5  # along a side, of the L2 start
_TINY = 1e-12

Proposal = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""Maps images, best candidates, uniform draws (N, k) and a query number to new candidates."""


def share_of_pixels(query: int) -> float:
    """The share of the image that the square of a query, counted from 0, covers.

    It follows the schedule for 10,000 queries of the paper's section 3.1, which AutoAttack cuts off at 5,000.
    """
    return FIRST_SHARE * 0.5 ** sum(query > halving for halving in _HALVINGS)


def draws_per_query(threat: Threat, channels: int) -> int:
    """Number of uniform draws of one proposal."""
    return channels + (2 if threat.norm == "linf" else 5)


def stripes(images: Tensor, draws: Tensor, threat: Threat) -> Tensor:
    """The L-inf start: vertical stripes of +-epsilon; draws uniform (N, C, 1, W)."""
    return threat.project(images + threat.epsilon * _signs(draws), images)


def tiles(images: Tensor, draws: Tensor, threat: Threat) -> Tensor:
    """The L2 start: bumps in a grid, a sign per bump and channel; uniform draws (N, C, 6+, 6+)."""
    height, width = images.shape[2:]
    side = max(min(height, width) // _TILES, 1)
    bump = _bump(side, images)
    delta = torch.zeros_like(images)
    margin = max((height - side * _TILES) // 2, 0), max((width - side * _TILES) // 2, 0)
    for row, top in enumerate(range(margin[0], height - side + 1, side)):
        for column, left in enumerate(range(margin[1], width - side + 1, side)):
            sign = _signs(draws[:, :, row % draws.shape[2], column % draws.shape[3]])
            delta[:, :, top : top + side, left : left + side] = bump * sign[:, :, None, None]
    return threat.project(images + threat.epsilon * steepest(delta, "l2"), images)


def propose_square(threat: Threat) -> Proposal:
    """L-inf: all pixels of one square go to +epsilon or -epsilon, per channel (algorithm 2)."""

    def propose(images: Tensor, best: Tensor, draws: Tensor, query: int) -> Tensor:
        side = _side(images, query)
        window = _window(images, side, draws[:, 0], draws[:, 1])
        return threat.project(best + 2.0 * threat.epsilon * _signs(draws[:, 2:])[:, :, None, None] * window, images)

    return propose


def propose_transfer(threat: Threat) -> Proposal:
    """L2: the mass of one window moves to another, into the shape of a bump (algorithm 3)."""
    bumps: dict[int, Tensor] = {}

    def propose(images: Tensor, best: Tensor, draws: Tensor, query: int) -> Tensor:
        side = _odd_side(images, query)
        if side not in bumps:
            bump = _bump(side, images)
            bumps[side] = torch.stack([bump, bump.T])
        goal = _window(images, side, draws[:, 0], draws[:, 1])
        source = _window(images, side, draws[:, 2], draws[:, 3])
        shape = _place(bumps[side], images, draws[:, 0], draws[:, 1], (draws[:, 4] < 0.5).long())
        delta = best - images
        unused = (threat.epsilon**2 - _square_norm(delta, (1, 2, 3))).clamp(min=0.0) / images.shape[1]
        budget = (unused + _square_norm(delta * (goal | source), (2, 3))).sqrt()
        old = delta * goal
        new = shape * _signs(draws[:, 5:])[:, :, None, None] + old / (_square_norm(old, (2, 3)).sqrt() + _TINY)
        new = new * goal
        new = new / (_square_norm(new, (2, 3)).sqrt() + _TINY) * budget
        moved = torch.where(goal, new, delta.masked_fill(source, 0.0))
        return threat.project(images + threat.epsilon * steepest(moved, "l2"), images)

    return propose


def _side(images: Tensor, query: int) -> int:
    height, width = images.shape[2:]
    return min(max(round(math.sqrt(share_of_pixels(query) * height * width)), 1), max(height, width))


def _odd_side(images: Tensor, query: int) -> int:
    side = max(_side(images, query), _SMALLEST_L2) | 1
    smallest = min(images.shape[2:])
    return min(side, smallest - 1 + smallest % 2) if smallest > 1 else 1


def _signs(draws: Tensor) -> Tensor:
    return torch.where(draws < 0.5, -1.0, 1.0)


def _square_norm(values: Tensor, dimensions: tuple[int, ...]) -> Tensor:
    return values.square().sum(dim=dimensions, keepdim=True)


def _corner(size: int, side: int, draw: Tensor) -> Tensor:
    """First row or column of a window (N, 1), uniform over all places where it fits."""
    return (draw * (max(size - side, 0) + 1)).floor().long()[:, None]


def _window(images: Tensor, side: int, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """One square per image as a mask, bool (N, 1, H, W)."""
    masks = []
    for size, draw in zip(images.shape[2:], (vertical, horizontal)):
        offset = torch.arange(size, device=images.device) - _corner(size, side, draw)
        masks.append((offset >= 0) & (offset < side))
    return (masks[0][:, :, None] & masks[1][:, None, :])[:, None]


def _place(bumps: Tensor, images: Tensor, vertical: Tensor, horizontal: Tensor, kind: Tensor) -> Tensor:
    """The bump of each image at its window, float (N, 1, H, W); arbitrary outside the window."""
    side = bumps.shape[1]
    height, width = images.shape[2:]
    rows = (torch.arange(height, device=images.device) - _corner(height, side, vertical)).clamp(0, side - 1)
    columns = (torch.arange(width, device=images.device) - _corner(width, side, horizontal)).clamp(0, side - 1)
    placed: Tensor = bumps[kind[:, None, None], rows[:, :, None], columns[:, None, :]]
    return placed[:, None]


def _bump(side: int, like: Tensor) -> Tensor:
    """Two halves of opposite sign, sums of growing rectangles; (side, side), norm 1 (eq. 2)."""
    half = side // 2
    bump = torch.cat([_hill(half, side), -_hill(side - half, side)])
    normalised: Tensor = bump / bump.norm()
    return normalised.to(like)


def _hill(height: int, width: int) -> Tensor:
    """Concentric rectangles, the k-th from within adding 1 / k^2."""
    rows = (torch.arange(height) - height // 2).abs()[:, None]
    columns = (torch.arange(width) - width // 2).abs()[None, :]
    ring = torch.maximum(rows.expand(height, width), columns.expand(height, width))
    weights = 1.0 / torch.arange(1, max(height, width) // 2 + 2).float().square()
    hill = weights.flip(0).cumsum(0).flip(0)[ring]
    return hill / hill.norm() if height else hill
