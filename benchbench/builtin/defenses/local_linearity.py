"""LLR: regularise how far the loss is from linear in the ball around an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from benchbench.builtin.deferred import F, Tensor, nn, torch
from benchbench.builtin.options import Variant, ascent_checks, at_least, variant_check
from benchbench.builtin.regression.fitting import fit
from benchbench.builtin.regression.linearity import solve_llr
from benchbench.contract import BatchLoss, Examples, KeyedGenerator, OptionError, Threat, frozen, in_mode, require

Objective = Callable[[Tensor], Tensor]  # of delta: a sum over the examples
START_DEVIATION = 0.001  # of the normal noise at the start: at the image itself the deviation from linear is 0


@dataclass(frozen=True, kw_only=True)
class LocalLinearity:
    """Minimise sum L(f(x), y) + lam * sum g(x, delta) + mu * sum |delta . grad_x L(f(x), y)|.

    g(x, delta) = |L(f(x + delta), y) - L(f(x), y) - delta . grad_x L(f(x), y)|, per example, and delta maximises it in the
    ball: Qin et al., "Adversarial Robustness through Local Linearization", 2019. The search for delta sees the model in
    evaluation mode. The loss sees it in training mode and takes delta as a constant; the linear terms pass gradients to the
    parameters through grad_x L (a second derivative). Dropout draws one mask for f(x) and another for f(x + delta), so the
    equation's g also penalises the difference of the masks.

    Attributes:
        lam: weight of the deviation from linear (lambda), at least 0.
        mu: weight of the linear term, at least 0.
        steps: steps of the inner maximisation, at least 1.
        step_ratio: step size over epsilon, above 0. A step follows the gradient over its norm in the threat's order (for
            L-inf, its largest absolute entry), or a random direction where the gradient is 0.
        variant: ``"equation"``: as above. ``"released"``: what the paper's code minimises, sum L(f(x), y) + lam * sum
            L(f(x + delta), y), where delta ascends L: its stored input gradient is zero, so the linear terms vanish.
    """

    lam: float = 4.0
    mu: float = 3.0
    steps: int = 2
    step_ratio: float = 0.5
    variant: Variant = "equation"

    recordable: ClassVar[bool] = True  # pure tensor code, apart from random draws

    def __post_init__(self) -> None:
        checks = at_least(0, lam=self.lam, mu=self.mu) | variant_check(self.variant)
        require(checks | ascent_checks(steps=self.steps, step_ratio=self.step_ratio))

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """Summed loss for a twice differentiable model; see `benchbench.contract.Defense`."""
        with in_mode(model, training=False), frozen(model):
            objective = _loss_around if self.variant == "released" else _deviation_around
            delta = self._maximise(objective(model, images, labels), images, threat=threat, generator=generator)
        if self.variant == "released":
            logits = model(images)
            clean = F.cross_entropy(logits, labels, reduction="sum")
            loss = clean + self.lam * F.cross_entropy(model(images + delta), labels, reduction="sum")
            return BatchLoss(loss=loss, logits=logits.detach())
        logits, clean, gradient = _linearised(model, images, labels, create_graph=True)
        linear = _dot(delta, gradient)
        beyond_linear = F.cross_entropy(model(images + delta), labels, reduction="none") - clean - linear
        loss = clean.sum() + self.lam * beyond_linear.abs().sum() + self.mu * linear.abs().sum()
        return BatchLoss(loss=loss, logits=logits.detach())

    def fit_regression(self, model: nn.Module, examples: Examples, *, threat: Threat) -> nn.Module:
        """Penalise the gap from linear at +-epsilon; mu must be 0, the paper's lam is 0.01."""
        if self.mu != 0:
            raise OptionError(f"llr: mu must be 0 for a regression, got {self.mu}", hint="set mu = 0.0 in the suite")
        return fit(model, examples, threat, lambda problem: solve_llr(problem, lam=self.lam, variant=self.variant))

    def _maximise(self, objective: Objective, images: Tensor, *, threat: Threat, generator: KeyedGenerator) -> Tensor:
        """Ascend from an unclipped start; steps clip delta to the box, then scale it into the ball."""
        delta = generator.normal_like(images).mul_(START_DEVIATION)
        for _ in range(self.steps):
            point = delta.requires_grad_(True)
            (gradient,) = torch.autograd.grad(objective(point), point)
            direction = _direction(gradient, otherwise=generator.normal_like(images), order=threat.order)
            moved = point.detach() + self.step_ratio * threat.epsilon * direction
            clipped = (images + moved).clamp(threat.lower, threat.upper) - images
            delta = torch.renorm(clipped, p=threat.order, dim=0, maxnorm=threat.epsilon)
        return delta


def _loss_around(model: nn.Module, images: Tensor, labels: Tensor) -> Objective:
    """sum L(f(x + delta), y) as a function of delta."""
    return lambda delta: F.cross_entropy(model(images + delta), labels, reduction="sum")


def _deviation_around(model: nn.Module, images: Tensor, labels: Tensor) -> Objective:
    """sum g(x, delta) as a function of delta."""
    _, clean, gradient = _linearised(model, images, labels, create_graph=False)

    def deviation(delta: Tensor) -> Tensor:
        around = F.cross_entropy(model(images + delta), labels, reduction="none")
        return (around - clean - _dot(delta, gradient)).abs().sum()

    return deviation


def _linearised(
    model: nn.Module, images: Tensor, labels: Tensor, *, create_graph: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, classes), cross-entropy (N,), its image gradient; constants without a graph."""
    inputs = images.detach().requires_grad_(True)
    logits = model(inputs)
    clean = F.cross_entropy(logits, labels, reduction="none")
    (gradient,) = torch.autograd.grad(clean.sum(), inputs, create_graph=create_graph)
    return (logits, clean, gradient) if create_graph else (logits.detach(), clean.detach(), gradient)


def _direction(gradient: Tensor, *, otherwise: Tensor, order: float) -> Tensor:
    """Gradient over its norm; where it is 0, the random vector `otherwise` over its norm."""
    flat, instead = gradient.flatten(1), otherwise.flatten(1)
    chosen = torch.where(flat.abs().amax(dim=1, keepdim=True) > 0, flat, instead)
    tiny = torch.finfo(flat.dtype).tiny
    # The gradients of a confident model are so small that their squares underflow: divide by the largest first.
    scaled = chosen / chosen.abs().amax(dim=1, keepdim=True).clamp(min=tiny)
    direction: Tensor = scaled / torch.linalg.vector_norm(scaled, ord=order, dim=1, keepdim=True).clamp(min=tiny)
    return direction.view_as(gradient)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Inner product per example, float (N,)."""
    return (left * right).flatten(1).sum(dim=1)
