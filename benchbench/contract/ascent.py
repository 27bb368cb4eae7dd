"""Steepest ascent in a ball, with objective and starts, for training, attacks and metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.contract.seeds import KeyedGenerator
from benchbench.contract.threat import Norm, Threat
from benchbench.kernels.modes import frozen, in_mode

if TYPE_CHECKING:  # importing benchbench must not import torch
    from torch import Tensor, nn

SPARSE_FRACTION = 0.01  # of the coordinates, moved by one L1 step


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """An objective, the sum of weights times values; its gradient is computed without the sum.

    Attributes:
        values: float, with a gradient.
        weights: float, in the shape of the values, without a gradient.
    """

    values: Tensor
    weights: Tensor


Objective = Callable[["Tensor"], "Tensor | Weighted"]


class CrossEntropy:
    """Summed cross-entropy to given classes, an objective of `ascend`; makes its weights once.

    The labels are classes, int64 (N,), or their probabilities, float (N, classes); a `sign` of -1.0 descends.
    """

    def __init__(self, labels: Tensor, *, sign: float = 1.0) -> None:
        self._labels = labels
        self._sign = sign
        self._weights: Tensor | None = None

    def __call__(self, logits: Tensor) -> Weighted:
        """The cross-entropy of logits (N, classes), computed in float32 or better."""
        import torch

        values = logits.log_softmax(dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))
        if self._weights is None:
            chosen = self._labels.dim() == 1
            self._weights = one_per_row(values, self._labels, -self._sign) if chosen else -self._sign * self._labels
        return Weighted(values=values, weights=self._weights)


def one_per_row(like: Tensor, columns: Tensor, value: float) -> Tensor:
    """Zeros in the shape of `like` (N, M), with a value in one column (N,) of each row."""
    return like.new_zeros(like.shape).scatter_(1, columns[:, None], value)


def ascend(
    objective: Objective, start: Tensor, images: Tensor, *, threat: Threat, steps: int, step_size: float
) -> Tensor:
    """Ascend an objective in the ball around the images by steepest steps, each one projected.

    Projected gradient ascent as in Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", 2018,
    section 2, in any norm of `Threat`. The gradient is taken for the candidates only: call it in a block of
    `benchbench.contract.frozen`, so that no activation is kept for the parameters. It never waits for the device.

    Args:
        objective: maps candidates (N, ...) to a scalar, the SUM over the examples, or to `Weighted` values, as
            `CrossEntropy` does. Every step may overwrite the candidates: clone what is to be kept.
        start: float (N, ...), the first candidates; neither projected nor changed.
        images: float (N, ...), the centres of the balls, inside the box.
        threat: ball and box.
        steps: number of steps, at least 0.
        step_size: length of a step in the threat's norm, in the units of the images.

    Returns:
        The last candidates, a new float (N, ...) without gradient; inside ball and box if `steps` > 0. With epsilon 0 a
        copy of the images: no step is taken.
    """
    import torch

    from benchbench.kernels.gradients import weighted_gradient

    if threat.epsilon == 0:
        return images.detach().clone()
    candidates = start.detach().clone()
    move = _moves(threat, images, step_size)
    with torch.enable_grad():
        for _ in range(steps):
            point = candidates.detach().requires_grad_(True)  # a new name each time: autocast's cache goes by names
            value = objective(point)
            if isinstance(value, Weighted):
                gradient = weighted_gradient(value.values, value.weights, point)
            else:
                (gradient,) = torch.autograd.grad(value, point)
            candidates = move(candidates, gradient)
    return candidates


def adversarial_images(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat: Threat,
    generator: KeyedGenerator,
    steps: int,
    step_ratio: float,
) -> Tensor:
    """Images of raised cross-entropy: `ascend` from `uniform_start`, as adversarial training.

    The mode of the model stays as it is: in training mode, dropout and batch normalisation are active.

    Args:
        model: maps float32 images to logits (N, classes).
        images: float32 (N, ...), inside the threat's box; labels int64 (N,).
        threat: ball and box.
        generator: of the same N examples; draws the start.
        steps: number of steps, at least 0.
        step_ratio: length of a step as a multiple of epsilon, above 0.

    Returns:
        float32 (N, ...), inside ball and box, without gradient.
    """
    start, cross_entropy = uniform_start(images, threat=threat, generator=generator), CrossEntropy(labels)
    with frozen(model):
        return ascend(
            lambda candidates: cross_entropy(model(candidates)),
            start,
            images,
            threat=threat,
            steps=steps,
            step_size=step_ratio * threat.epsilon,
        )


def diverging_images(
    model: nn.Module, images: Tensor, *, start: Tensor, threat: Threat, steps: int, step_ratio: float
) -> Tensor:
    """Images whose predictions diverge from the clean ones: the inner search of TRADES.

    `ascend` by the divergence KL(softmax f(x) || softmax f(x')), with the model in evaluation mode; Zhang et al.,
    "Theoretically Principled Trade-off between Robustness and Accuracy", 2019, algorithm 1.

    Args:
        model: maps float32 images to logits (N, classes).
        images: float32 (N, ...), x, inside the threat's box.
        start: float32 (N, ...), the first x', not the images: there the gradient is 0. See `normal_start`.
        threat: ball and box.
        steps: number of steps, at least 0.
        step_ratio: length of a step as a multiple of epsilon, above 0.

    Returns:
        float32 (N, ...), without gradient; inside ball and box if `steps` > 0.
    """
    import torch

    with in_mode(model, training=False), frozen(model):
        with torch.no_grad():
            to_clean = CrossEntropy(model(images).softmax(dim=1))  # it has the divergence's gradient, for less
        return ascend(
            lambda moved: to_clean(model(moved)),
            start,
            images,
            threat=threat,
            steps=steps,
            step_size=step_ratio * threat.epsilon,
        )


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """Direction of steepest ascent (N, ...), of length 1 in the norm; 0 for a gradient of 0.

    For ``"linf"`` it is the sign of the gradient, float (N, ...); for ``"l2"`` the normalised gradient; for ``"l1"`` the signs
    of the largest hundredth of the coordinates, in equal parts (Tramer & Boneh, "Adversarial Training and Robustness for
    Multiple Perturbations", 2019): a single coordinate makes no progress once it has reached the box.
    """
    import torch

    if norm == "linf":
        return gradient.sign()
    flat = gradient.flatten(1).nan_to_num()  # 0 for NaN, as its sign
    if norm == "l2":
        # The gradients of a confident model are so small that their squares underflow: divide by the largest first.
        scaled = flat / flat.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(flat.dtype).tiny)
        direction: Tensor = scaled / torch.linalg.vector_norm(scaled, dim=1, keepdim=True).clamp(min=1.0)
        return direction.view_as(gradient)
    count = max(1, round(SPARSE_FRACTION * flat.shape[1]))
    largest = flat.abs().topk(count, dim=1).indices
    signs = torch.zeros_like(flat).scatter_(1, largest, flat.gather(1, largest).sign())
    return (signs / signs.abs().sum(dim=1, keepdim=True).clamp(min=1.0)).view_as(gradient)


def uniform_start(images: Tensor, *, threat: Threat, generator: KeyedGenerator) -> Tensor:
    """Draw one point uniformly from the ball around each image, then clip it to the box.

    The images are float (N, ...), the generator is of the same N examples. The result, float (N, ...), lies inside ball and
    box.
    """
    if threat.norm == "linf":
        noise = generator.uniform_like(images, low=-threat.epsilon, high=threat.epsilon)
        return threat.project(noise.add_(images), images)
    per_example = [1] * (images.dim() - 1)
    if threat.norm == "l2":  # a uniform direction, and a radius whose d-th power is uniform
        direction = steepest(generator.normal_like(images), "l2")
        radius = generator.uniform(*per_example).to(images) ** (1 / images[0].numel())
        return threat.project(images + threat.epsilon * radius * direction, images)
    # Exponential magnitudes, divided by the sum of these and of one more, are uniform in the simplex: Devroye, "Non-Uniform
    # Random Variate Generation", 1986, chapter V.2.
    magnitude = -(-generator.uniform_like(images)).log1p()
    rest = -(-generator.uniform(*per_example).to(images)).log1p()
    share = magnitude / (magnitude.flatten(1).sum(1).view_as(rest) + rest)
    sign = generator.uniform_like(images, low=-1.0).sign()
    return threat.project(images + threat.epsilon * share * sign, images)


def normal_start(images: Tensor, *, deviation: float, generator: KeyedGenerator) -> Tensor:
    """Images plus normal noise, unprojected and unclipped: a start if the image's gradient is 0.

    The images are float (N, ...), the generator is of the same N examples. `deviation` is the standard deviation of the noise,
    in the units of the images, above 0; 0.001 for TRADES (Zhang et al., 2019).
    """
    return images + deviation * generator.normal_like(images)


def _moves(threat: Threat, images: Tensor, step_size: float) -> Callable[[Tensor, Tensor], Tensor]:
    """A function that moves candidates, perhaps in place, along a gradient and projects them.

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


def sign_step(points: Tensor, gradient: Tensor, lowest: Tensor, highest: Tensor, length: float) -> Tensor:
    """Move points by `length` along a gradient's signs and clamp them; may overwrite the points."""
    if points.is_cuda:
        from benchbench.kernels import fused

        return fused.sign_step(points, gradient, lowest, highest, length)
    import torch

    return torch.clamp(points.add_(gradient.sign(), alpha=length), lowest, highest, out=points)
