"""AWP on the losses of adversarial training and of TRADES."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.contract import (
    BatchLoss,
    KeyedGenerator,
    Threat,
    adversarial_images,
    ascend,
    frozen,
    in_mode,
    normal_start,
    require,
)
from benchbench_awp.perturbation import step_at_perturbed_weights

TRADES_START = 0.001  # standard deviation


class _WarmingUp:
    """Options of both methods, and a warm-up that leaves the weights alone in the first epochs."""

    def __init__(self, *, gamma: float, steps: int, step_ratio: float, warm_up: int) -> None:
        require(
            {
                f"gamma must be at least 0, got {gamma}": gamma >= 0,
                f"steps must be at least 1, got {steps}": steps >= 1,
                f"step_ratio must be above 0, got {step_ratio}": step_ratio > 0,
                f"warm_up must be at least 0, got {warm_up}": warm_up >= 0,
            }
        )
        self.gamma = gamma
        self.steps = steps
        self.step_ratio = step_ratio
        self.warm_up = warm_up
        self._epoch = 0

    def at_epoch(self, epoch: int) -> None:
        """The epoch of the next batch, from 0; see `benchbench.contract.ScheduledDefense`."""
        self._epoch = epoch

    @property
    def _gamma_now(self) -> float:
        return self.gamma if self._epoch >= self.warm_up else 0.0


class AwpAdversarialTraining(_WarmingUp):
    """min over w, max over v of the summed L(f_{w+v}(x'), y) (equation 7).

    x' is from PGD at w, which starts uniformly in the ball and sees the model in training mode.

    Args:
        gamma: size of the weight perturbation relative to each layer's weights, at least 0; 0 is plain adversarial training.
        steps: steps of the inner maximisation over images, at least 1.
        step_ratio: step size over epsilon, above 0.
        warm_up: epochs at the beginning in which the weights are not perturbed, at least 0.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(self, *, gamma: float = 0.01, steps: int = 10, step_ratio: float = 0.2, warm_up: int = 0) -> None:
        super().__init__(gamma=gamma, steps=steps, step_ratio=step_ratio, warm_up=warm_up)

    def step(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        threat: Threat,
        generator: KeyedGenerator,
        optimizer: torch.optim.Optimizer,
    ) -> BatchLoss:
        """One optimiser step on the gradient at the perturbed weights."""
        candidates = adversarial_images(
            model, images, labels, threat=threat, generator=generator, steps=self.steps, step_ratio=self.step_ratio
        )
        loss = step_at_perturbed_weights(
            model,
            lambda: F.cross_entropy(model(candidates), labels, reduction="sum"),
            optimizer,
            gamma=self._gamma_now,
        )
        return BatchLoss(loss=loss)


class AwpTrades(_WarmingUp):
    """min over w, max over v of summed L(f_{w+v}(x), y) + beta * KL(f_{w+v}(x) || f_{w+v}(x')).

    Equation 11. As in TRADES, x' ascends the divergence at w from x + 0.001 N(0, 1), with the model in evaluation mode.

    Args:
        beta: weight of the divergence, at least 0.
        gamma: size of the weight perturbation relative to each layer's weights, at least 0; 0 is plain TRADES.
        steps: steps of the inner maximisation over images, at least 1.
        step_ratio: step size over epsilon, above 0.
        warm_up: epochs at the beginning in which the weights are not perturbed, at least 0.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(
        self, *, beta: float = 6.0, gamma: float = 0.005, steps: int = 10, step_ratio: float = 0.2, warm_up: int = 0
    ) -> None:
        require({f"beta must be at least 0, got {beta}": beta >= 0})
        self.beta = beta
        super().__init__(gamma=gamma, steps=steps, step_ratio=step_ratio, warm_up=warm_up)

    def step(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        threat: Threat,
        generator: KeyedGenerator,
        optimizer: torch.optim.Optimizer,
    ) -> BatchLoss:
        """One optimiser step on the gradient at the perturbed weights."""
        candidates = self._diverging_images(model, images, threat=threat, generator=generator)
        loss = step_at_perturbed_weights(
            model,
            lambda: trades_loss(model, images, candidates, labels, self.beta),
            optimizer,
            gamma=self._gamma_now,
        )
        return BatchLoss(loss=loss)

    def _diverging_images(
        self, model: nn.Module, images: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        start = normal_start(images, deviation=TRADES_START, generator=generator)
        with in_mode(model, training=False), frozen(model):
            with torch.no_grad():
                clean = F.log_softmax(model(images), dim=1)
            return ascend(
                lambda leaf: F.kl_div(F.log_softmax(model(leaf), dim=1), clean, reduction="sum", log_target=True),
                start,
                images,
                threat=threat,
                steps=self.steps,
                step_size=self.step_ratio * threat.epsilon,
            )


def trades_loss(model: nn.Module, images: Tensor, candidates: Tensor, labels: Tensor, beta: float) -> Tensor:
    """Summed cross-entropy on images plus beta times summed KL(f(x) || f(x')), differentiable."""
    logits, perturbed = model(images), model(candidates)
    divergence = F.kl_div(
        F.log_softmax(perturbed, dim=1), F.log_softmax(logits, dim=1), reduction="sum", log_target=True
    )
    return F.cross_entropy(logits, labels, reduction="sum") + beta * divergence
