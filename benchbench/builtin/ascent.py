"""The inner maximisation: projected steepest ascent, one loop for defenses and attacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from benchbench.contract import KeyedGenerator, Norm, Threat, sign_step

SPARSE_FRACTION = 0.01  # of the coordinates, moved by one L1 step


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """The sum of weights times values, as an objective: nothing is summed up, for its gradient does not need the sum.

    Attributes:
        values: float, with a gradient.
        weights: in the shape of the values, without one.
    """

    values: Tensor
    weights: Tensor


Objective = Callable[[Tensor], "Tensor | Weighted"]


class CrossEntropy:
    """The summed cross-entropy of logits to certain classes, its weights made once for all steps.

    Args:
        labels: int64 (N,), the classes; or float (N, classes), their probabilities.
        sign: 1.0, or -1.0 to descend.
    """

    def __init__(self, labels: Tensor, *, sign: float = 1.0) -> None:
        self._labels = labels
        self._sign = sign
        self._weights: Tensor | None = None

    def __call__(self, logits: Tensor) -> Weighted:
        """Of logits (N, classes), in float32 at least."""
        values = log_softmax(logits, dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))
        if self._weights is None:
            chosen = self._labels.dim() == 1
            self._weights = one_per_row(values, self._labels, -self._sign) if chosen else -self._sign * self._labels
        return Weighted(values=values, weights=self._weights)


def one_per_row(like: Tensor, columns: Tensor, value: float) -> Tensor:
    """Zeros in the shape of `like` (N, M), and a value in one column (N,) of each row."""
    return torch.zeros_like(like).scatter_(1, columns[:, None], value)


@torch.enable_grad()
def ascend(
    objective: Objective,
    start: Tensor,
    images: Tensor,
    *,
    threat: Threat,
    steps: int,
    step_size: float,
) -> Tensor:
    """Ascend an objective inside the ball around the images, projecting after every step.

    Projected gradient ascent as in Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", 2018,
    section 2. The gradient is taken for the candidates alone; freeze the model's parameters
    (`benchbench.contract.frozen`) so that no activation is kept for them. Nothing here waits for the device.

    Args:
        objective: maps candidates (N, ...) to a scalar, a SUM over the examples, or to what is to be summed up (`Weighted`).
            Its argument is one buffer that every step overwrites: clone what is to be kept.
        start: float (N, ...), where to begin; used as it is, not projected, and not changed.
        images: float (N, ...), the centres of the balls, inside the box.
        threat: ball and box.
        steps: number of steps, at least 0.
        step_size: length of a step in the threat's norm.

    Returns:
        The last iterate, float (N, ...), without gradient, in a buffer of its own; inside ball and box if `steps` > 0.
        With epsilon 0 the images themselves: no step is taken.
    """
    if threat.epsilon == 0:
        return images.detach().clone()
    candidates = start.detach().clone()
    move = _moves(threat, images, step_size)

    for _ in range(steps):
        point = candidates.detach().requires_grad_(True)  # a name of its own each time: autocast's cache goes by names
        value = objective(point)
        values, weights = (value.values, value.weights) if isinstance(value, Weighted) else (value, None)
        (gradient,) = torch.autograd.grad(values, point, weights)
        candidates = move(candidates, gradient)
    return candidates


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """The direction of a step: of length 1 in the norm, 0 where an example's gradient is 0.

    Args:
        gradient: float (N, ...).
        norm: ``"linf"``: the sign; ``"l2"``: the normalised gradient; ``"l1"``: the signs of the largest hundredth of
            the coordinates, in equal parts (Tramer & Boneh, "Adversarial Training and Robustness for Multiple
            Perturbations", 2019), for a single coordinate makes no headway once it reaches the box.

    Returns:
        float (N, ...).
    """
    if norm == "linf":
        return gradient.sign()
    flat = gradient.flatten(1)
    if norm == "l2":
        # A confident model's gradients are so small that their squares would vanish: scale by the largest first.
        scaled = flat / flat.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(flat.dtype).tiny)
        direction: Tensor = scaled / torch.linalg.vector_norm(scaled, dim=1, keepdim=True).clamp(min=1.0)
        return direction.view_as(gradient)
    count = max(1, round(SPARSE_FRACTION * flat.shape[1]))
    largest = flat.abs().topk(count, dim=1).indices
    signs = torch.zeros_like(flat).scatter_(1, largest, flat.gather(1, largest).sign())
    return (signs / signs.abs().sum(dim=1, keepdim=True).clamp(min=1.0)).view_as(gradient)


def uniform_start(images: Tensor, *, threat: Threat, generator: KeyedGenerator) -> Tensor:
    """Draw one point uniformly from the ball around each image, then clip it to the box.

    Args:
        images: float (N, ...), the centres.
        threat: ball and box.
        generator: of the same N examples.

    Returns:
        float (N, ...), inside ball and box.
    """
    if threat.norm == "linf":
        noise = generator.uniform_like(images, low=-threat.epsilon, high=threat.epsilon)
        return threat.project(noise.add_(images), images)
    if threat.norm == "l2":  # a uniform direction, and a radius whose d-th power is uniform
        direction = steepest(generator.normal_like(images), "l2")
        radius = generator.uniform(*[1] * (images.dim() - 1)).to(images) ** (1 / images[0].numel())
        return threat.project(images + threat.epsilon * radius * direction, images)
    # Exponential magnitudes divided by their sum and one more are uniform in the simplex: Devroye, 1986, chapter V.2.
    magnitude = -torch.log1p(-generator.uniform_like(images))
    rest = -torch.log1p(-generator.uniform(*[1] * (images.dim() - 1)).to(images))
    share = magnitude / (magnitude.flatten(1).sum(1).view_as(rest) + rest)
    sign = generator.uniform_like(images, low=-1.0).sign()
    return threat.project(images + threat.epsilon * share * sign, images)


def _moves(threat: Threat, images: Tensor, step_size: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Maps candidates, which it may overwrite, and a gradient to the candidates after a step and its projection.

    For L-inf, ball and box are one pair of bounds, computed once.
    """
    if threat.norm != "linf":
        norm = threat.norm
        return lambda candidates, gradient: candidates.copy_(
            threat.project(candidates.add_(steepest(gradient, norm), alpha=step_size), images)
        )
    lowest = (images - threat.epsilon).clamp_(min=threat.lower)
    highest = (images + threat.epsilon).clamp_(max=threat.upper)
    return lambda candidates, gradient: sign_step(candidates, gradient, lowest, highest, step_size)
