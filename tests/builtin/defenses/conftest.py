"""A smooth network twice: as a module, and in NumPy with every derivative written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchbench.contract import KeyedGenerator, Threat

Array = NDArray[np.float64]
SEED = 20
N, CHANNELS, HEIGHT, WIDTH, HIDDEN, CLASSES = 5, 1, 2, 3, 4, 3


@dataclass(frozen=True, kw_only=True)
class Network:
    """f(x) = W2 tanh(W1 x + b1) + b2 on flat float64 inputs (N, d)."""

    weight1: Array
    bias1: Array
    weight2: Array
    bias2: Array

    def logits(self, inputs: Array) -> Array:
        return np.tanh(inputs @ self.weight1.T + self.bias1) @ self.weight2.T + self.bias2

    def log_probabilities(self, inputs: Array) -> Array:
        logits = self.logits(inputs)
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))

    def losses(self, inputs: Array, labels: NDArray[np.int64]) -> Array:
        """Cross-entropy per example."""
        return -self.log_probabilities(inputs)[np.arange(len(labels)), labels]

    def gradients(self, inputs: Array, targets: Array) -> Array:
        """Input gradients of the cross-entropy with target probabilities; with fixed targets also those of KL."""
        hidden = np.tanh(inputs @ self.weight1.T + self.bias1)
        error = np.exp(self.log_probabilities(inputs)) - targets
        return ((error @ self.weight2) * (1 - hidden**2)) @ self.weight1

    def derivatives(self, function: Callable[[Network], float], step: float = 1e-6) -> list[Array]:
        """Central finite differences of a function of the network, for each parameter in turn."""
        result = []
        for field in fields(self):
            value = getattr(self, field.name)
            slopes = np.zeros_like(value)
            for index in np.ndindex(value.shape):
                bump = np.zeros_like(value)
                bump[index] = step
                above = function(replace(self, **{field.name: value + bump}))
                below = function(replace(self, **{field.name: value - bump}))
                slopes[index] = (above - below) / (2 * step)
            result.append(slopes)
        return result


class SmoothModel(nn.Module):
    """The same network as a module."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        for field in fields(network):
            self.register_parameter(field.name, nn.Parameter(torch.from_numpy(getattr(network, field.name).copy())))

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.tanh(nn.functional.linear(images.flatten(1), self.weight1, self.bias1))
        return nn.functional.linear(hidden, self.weight2, self.bias2)


class ForwardLog(nn.Module):
    """Wraps a model and notes, for each forward pass, whether the model was in training mode and frozen."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.passes: list[bool] = []
        self.frozen: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        self.passes.append(self.model.training)
        self.frozen.append(not any(parameter.requires_grad for parameter in self.model.parameters()))
        return self.model(images)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A model, a batch and a threat, for the defense and for the formulas."""

    network: Network
    model: SmoothModel
    images: Tensor
    labels: Tensor
    threat: Threat

    @property
    def inputs(self) -> Array:
        return self.images.flatten(1).numpy()

    @property
    def targets(self) -> Array:
        return np.eye(CLASSES)[self.labels.numpy()]

    def generator(self, rows: slice = slice(None)) -> KeyedGenerator:
        return KeyedGenerator(SEED, torch.arange(100, 100 + N)[rows])

    def uniform_start(self) -> Array:
        noise = self.generator().uniform_like(self.images, low=-self.threat.epsilon, high=self.threat.epsilon)
        return self.project(self.inputs + noise.flatten(1).numpy())

    def normal_start(self) -> Array:
        return self.inputs + 0.001 * self.generator().normal_like(self.images).flatten(1).numpy()

    def project(self, candidates: Array) -> Array:
        epsilon = self.threat.epsilon
        return np.clip(np.clip(candidates, self.inputs - epsilon, self.inputs + epsilon), 0.0, 1.0)

    def assert_minimises(self, defense: object, formula: Callable[[Network], float]) -> None:
        """The defense's loss and its parameter gradients are the formula's, in which candidates are constants."""
        outcome = defense.loss(  # type: ignore[attr-defined]
            self.model, self.images, self.labels, threat=self.threat, generator=self.generator()
        )
        assert outcome.loss.item() == pytest.approx(formula(self.network), rel=1e-10)
        gradients = torch.autograd.grad(outcome.loss, list(self.model.parameters()))
        for actual, expected in zip(gradients, self.network.derivatives(formula), strict=True):
            np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-6, atol=1e-7)
        if outcome.logits is not None:
            np.testing.assert_allclose(outcome.logits.numpy(), self.network.logits(self.inputs), rtol=1e-12)
            assert not outcome.logits.requires_grad


@pytest.fixture
def problem() -> Problem:
    """Five random images (some at the edge of the box) in an L-inf ball of radius 0.2."""
    draws = np.random.default_rng(11)
    network = Network(
        weight1=draws.normal(size=(HIDDEN, CHANNELS * HEIGHT * WIDTH)),
        bias1=draws.normal(size=HIDDEN),
        weight2=draws.normal(size=(CLASSES, HIDDEN)),
        bias2=draws.normal(size=CLASSES),
    )
    images = np.clip(draws.uniform(-0.2, 1.2, size=(N, CHANNELS, HEIGHT, WIDTH)), 0.0, 1.0)
    return Problem(
        network=network,
        model=SmoothModel(network),
        images=torch.from_numpy(images),
        labels=torch.from_numpy(draws.integers(CLASSES, size=N)),
        threat=Threat(epsilon=0.2),
    )


@pytest.fixture
def forward_log() -> type[ForwardLog]:
    """The class, so that tests need not import from here."""
    return ForwardLog
