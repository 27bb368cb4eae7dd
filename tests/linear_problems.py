"""Linear models whose robust accuracy is known exactly, faces of the box included, for tests of attacks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from benchbench.contract import KeyedGenerator, Norm, Threat, derive_seed
from benchbench.testing import LinearToy

PIXELS = 64
HAIR = 0.1  # an image is left out where what the ball can do comes within this share of what the class in reach needs
Nearest = Literal["runner-up", "last"]
# How steep the logit of the class in reach is, and how far it lies below the label's.
_ROLES: dict[Nearest, tuple[float, float]] = {"runner-up": (1.0, 1.5), "last": (3.0, 5.0)}
_STEEPNESS_OF_OTHERS = 0.3  # so that they stay out of reach
_SHARPNESS = 3.0  # of all logits, so that softmax is almost the largest wrong logit alone
_DRAWN, _OF_EACH_KIND = 1000, 6


@dataclass(frozen=True, kw_only=True)
class LinearProblem:
    """A linear model and images whose robustness is known.

    Attributes:
        model: on 1 x 8 x 8 images; one class is in reach of some of them, no other is.
        images: float32 (24, 1, 8, 8) in [0, 1]; half of the pixels of half of the images are 0 or 1, but for L1 none is, and
            every pixel has more room than the radius.
        labels: int64 (24,), all predicted correctly.
        threat: ball and box.
        robust: bool (24,), whether no perturbation within ball and box changes the prediction; true of half of each kind.
    """

    model: LinearToy
    images: Tensor
    labels: Tensor
    threat: Threat
    robust: Tensor


@cache
@torch.no_grad()
def linear_problem(classes: int, norm: Norm, nearest: Nearest) -> LinearProblem:
    """A problem whose class in reach has the largest wrong logit (``"runner-up"``) or the smallest of all (``"last"``)."""
    seed, label = derive_seed("linear problem", classes, norm, nearest), classes // 2
    target = (label + 1) % classes
    rows, draws = torch.arange(_DRAWN), KeyedGenerator(seed, torch.arange(classes))
    faces = draws.child("faces").normal(PIXELS)[0].sign() * (torch.arange(PIXELS) % 2) * (0.0 if norm == "l1" else 0.5)
    model = _model(draws, faces, label, target, nearest, _scale(norm))
    amplitude = 0.1 / _scale(norm)
    noise = KeyedGenerator(derive_seed(seed, "noise"), rows).uniform(PIXELS, low=-amplitude, high=amplitude)
    images = 0.5 + torch.where((rows % 2 == 0)[:, None] & (faces != 0), faces, noise)
    labels = torch.full((_DRAWN,), label)
    middle = model.distance(images, labels, norm).median()  # were there no box, which holds images at its faces back
    threat = Threat(norm=norm, epsilon=(1.0 if norm == "l1" else 1.15) * float(middle))
    logits = model(images).double()
    reached = torch.stack([largest_rise(own - model.weight[label], images, threat) for own in model.weight], dim=1)
    missing = logits[:, label, None] - logits  # what each class needs, of which it gets a share
    shares = (reached / missing).index_fill(1, torch.tensor([label]), 0.0)
    rank = (logits > logits[:, target, None]).sum(dim=1)
    usable = (missing >= 0).all(dim=1) & (rank == (1 if nearest == "runner-up" else classes - 1))
    usable &= (shares[:, target] - 1.0).abs() > HAIR
    usable &= (shares > 0.7).sum(dim=1) == (shares[:, target] > 0.7)
    robust = shares[:, target] < 1.0
    kinds = [usable & (robust == answer) & (rows % 2 == side) for answer in (True, False) for side in (0, 1)]
    kept = torch.cat([kind.nonzero()[:_OF_EACH_KIND, 0] for kind in kinds])
    return LinearProblem(
        model=model, images=images[kept].view(-1, 1, 8, 8), labels=labels[kept], threat=threat, robust=robust[kept]
    )


def _scale(norm: Norm) -> float:
    """How many times steeper all logits are: so steep for L1 that a single pixel has room for the radius."""
    return 3.0 if norm == "l1" else 1.0


def _model(draws: KeyedGenerator, faces: Tensor, label: int, target: int, nearest: Nearest, scale: float) -> LinearToy:
    """The label's logit is about 0 on images around 0.5, with `faces` or without, the others' lower."""
    steepness, gap = _ROLES[nearest]
    weight = scale * _STEEPNESS_OF_OTHERS * draws.child("weight").normal(PIXELS)
    bias = -2.0 - draws.child("bias").uniform()
    weight[target] *= steepness / _STEEPNESS_OF_OTHERS
    weight -= torch.outer(weight @ faces, faces) / faces.square().sum().clamp(min=1.0)
    bias[label], bias[target] = 0.0, -gap
    return LinearToy(_SHARPNESS * weight, _SHARPNESS * (bias - 0.5 * weight.sum(dim=1))).eval()


def largest_rise(slopes: Tensor, images: Tensor, threat: Threat) -> Tensor:
    """max over d of slopes . d, where ||d|| <= epsilon and images + d stays in the box; exact, float64 (N,).

    The solutions are known. L-inf: every coordinate goes as far as it may. L1: the steepest coordinates go first, each as far
    as the box allows, until the radius is spent. L2: coordinate i goes min(level * |slope_i|, room_i), where bisection finds
    the level that spends the radius.

    Args:
        slopes: float (d,).
        images: float (N, d), inside the box.
        threat: ball and box.
    """
    slopes, images = slopes.double(), images.double()
    room = torch.where(slopes > 0, threat.upper - images, images - threat.lower)
    steep = slopes.abs()
    if threat.norm == "linf":
        moves = room.clamp(max=threat.epsilon)
    elif threat.norm == "l1":
        order = steep.argsort(descending=True)
        steep, room = steep[order], room[:, order]
        moves = torch.minimum(room, (threat.epsilon - room.cumsum(dim=1) + room).clamp(min=0.0))
    else:
        low, high = steep.new_zeros(len(images), 1), steep.new_full((len(images), 1), 1e6)
        for _ in range(100):
            level = 0.5 * (low + high)
            inside = torch.minimum(level * steep, room).norm(dim=1, keepdim=True) <= threat.epsilon
            low, high = torch.where(inside, level, low), torch.where(inside, high, level)
        moves = torch.minimum(low * steep, room)
    return (steep * moves).sum(dim=1)
