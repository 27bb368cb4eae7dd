"""What a cell will cost: passes counted on a toy model, times what one pass of its architecture takes here.

Nothing is known by name: a defense or an attack of a plugin is run once on a tiny counting model, and the architecture is
timed on a few examples. Attacks that stop early cost less than the estimate.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchbench.contract import (
    Attack,
    Defense,
    FittingDefense,
    KeyedGenerator,
    SteppingDefense,
    Threat,
    frozen,
)

PILOT_EXAMPLES = 8
PILOT_SECONDS = 5.0  # what takes longer on the toy has no estimate: a plan is to be quick, whatever a suite asks for
PILOT_REPEATS = 2


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Passes per example: forward, and backward to the input or the weights."""

    forward: float
    backward: float


@dataclass(frozen=True, kw_only=True)
class PassSeconds:
    """Seconds per example of one forward and one backward pass."""

    forward: float
    backward: float

    def cost(self, passes: Passes) -> float:
        """Seconds per example for so many passes."""
        return self.forward * passes.forward + self.backward * passes.backward


class _Counter(nn.Module):
    """A linear classifier that counts the examples that pass through it in each direction."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, classes)
        self._deadline = time.monotonic() + PILOT_SECONDS
        self.forwards = 0
        self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"its passes could not be counted within {PILOT_SECONDS:g} s")
        self.forwards += len(images)
        logits: Tensor = self.linear(images.flatten(1))
        if logits.requires_grad:
            logits.register_hook(self._count)  # type: ignore[no-untyped-call]
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)

    def passes(self, examples: int) -> Passes:
        return Passes(forward=self.forwards / examples, backward=self.backwards / examples)


def training_passes(defense: object, input_shape: tuple[int, ...], classes: int, threat: Threat) -> Passes | None:
    """Count the passes of one training step per example; None for a defense that fits without the training loop."""
    if isinstance(defense, FittingDefense):
        return None
    model, images, labels, generator = _toy(input_shape, classes, threat)
    if isinstance(defense, SteppingDefense):
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
        defense.step(model, images, labels, threat=threat, generator=generator, optimizer=optimizer)
    elif isinstance(defense, Defense):
        loss: Any = defense.loss(model, images, labels, threat=threat, generator=generator).loss
        loss.backward()
    return model.passes(len(images))


def attack_passes(attack: Attack, input_shape: tuple[int, ...], classes: int, threat: Threat) -> Passes:
    """Count the passes of one attack per example, for examples on which it does not succeed early."""
    model, images, labels, generator = _toy(input_shape, classes, threat)
    with torch.no_grad():  # a model that nothing fools: attacks that stop early run to their end
        model.linear.weight.mul_(1e-3)
        model.linear.bias.fill_(-1e3)
        model.linear.bias[0] = 1e3
    with frozen(model):
        attack.perturb(model, images, torch.zeros_like(labels), threat=threat, generator=generator)
    return model.passes(len(images))


def time_passes(model: nn.Module, input_shape: tuple[int, ...], device: torch.device) -> PassSeconds:
    """Time a forward and an input-gradient pass of a model on a few examples; the model is left as it was."""
    model = model.to(device).eval()
    images = torch.rand(PILOT_EXAMPLES, *input_shape, device=device)
    best_forward = best_total = math.inf
    with frozen(model):
        for _ in range(PILOT_REPEATS):
            candidates = images.clone().requires_grad_()
            started = _now(device)
            logits = model(candidates)
            middle = _now(device)
            torch.autograd.grad(logits.sum(), candidates)
            best_forward = min(best_forward, middle - started)
            best_total = min(best_total, _now(device) - started)
    forward = best_forward / PILOT_EXAMPLES
    return PassSeconds(forward=forward, backward=max(best_total / PILOT_EXAMPLES - forward, 0.0))


def _toy(input_shape: tuple[int, ...], classes: int, threat: Threat) -> tuple[_Counter, Tensor, Tensor, KeyedGenerator]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _Counter(math.prod(input_shape), classes)
    generator = KeyedGenerator(0, torch.arange(4))
    low, high = max(threat.lower, 0.0), min(threat.upper, 1.0)
    images = generator.child("images").uniform(*input_shape, low=low, high=high)
    return model, images, torch.arange(4) % classes, generator


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
