"""A training step at adversarially perturbed weights (Wu, Xia, Wang, NeurIPS 2020, alg. 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Objective = Callable[[], Tensor]


def step_at_perturbed_weights(
    model: nn.Module, objective: Objective, optimizer: torch.optim.Optimizer, *, gamma: float
) -> Tensor:
    """Step on the objective's gradient at w + v, with v = gamma ||w|| / ||g|| g layer by layer.

    g is the gradient at w. The weights are restored, bit for bit, before the optimiser steps. This is the paper's
    update, w <- w - learning rate * gradient at (w + v), without the rounding of adding and subtracting v.

    Args:
        model: whose weights are perturbed.
        objective: computes the summed loss of the batch with the present weights; called twice, with equal randomness.
        optimizer: over the model's parameters.
        gamma: size of the perturbation relative to the weights, at least 0.

    Returns:
        The loss at the perturbed weights, a scalar, detached.
    """
    directions = _ascent(model, objective) if gamma > 0 else {}
    optimizer.zero_grad(set_to_none=True)
    with _perturbed(directions, gamma):
        loss = objective()
        loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def layer_direction(weight: Tensor, gradient: Tensor) -> Tensor:
    """||w|| / ||g|| g of one layer, g its gradient: as long as the weights, 0 if g is 0."""
    length = torch.linalg.vector_norm(gradient)
    scale = torch.where(length > 0, torch.linalg.vector_norm(weight) / length, torch.zeros_like(length))
    return gradient * scale


def _ascent(model: nn.Module, objective: Objective) -> dict[nn.Parameter, Tensor]:
    """The direction of each layer's perturbation.

    Biases and the scales of normalisations, parameters with one axis, are not perturbed, as in the authors' experiments. The
    search must change neither batch-norm statistics nor the state of dropout's generator.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad and weight.dim() > 1]
    with _left_as_it_was(model):
        gradients = torch.autograd.grad(objective(), weights, allow_unused=True)
    return {
        weight: layer_direction(weight.detach(), gradient)
        for weight, gradient in zip(weights, gradients)
        if gradient is not None
    }


@contextmanager
def _perturbed(directions: dict[nn.Parameter, Tensor], gamma: float) -> Iterator[None]:
    """Add gamma times the directions to the weights for the length of a block."""
    kept = {weight: weight.detach().clone() for weight in directions}
    with torch.no_grad():
        for weight, direction in directions.items():
            weight.add_(direction, alpha=gamma)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in kept.items():
                weight.copy_(value)


@contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Restore, after a block, the model's buffers and torch's global generators (for dropout)."""
    buffers = {buffer: buffer.detach().clone() for buffer in model.buffers()}
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(devices)):
        yield
    with torch.no_grad():
        for buffer, value in buffers.items():
            buffer.copy_(value)
