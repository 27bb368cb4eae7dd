"""The cost of a cell: passes counted on a toy model, times the seconds of a pass here.

No method is known by its name: a defense or an attack, also of a plugin, runs once on a tiny counting model, and the
architecture is timed on a few examples. Attacks that stop early cost less than the estimate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.contract import (
    Attack,
    Examples,
    ExtraExamples,
    KeyedGenerator,
    Metric,
    PreparedDefense,
    Progress,
    Recipe,
    Threat,
    TrainingHost,
    frozen,
)
from benchbench.contract.training import AnyDefense, FittingDefense, LoopDefense, SteppingDefense, announce
from benchbench.kernels.determinism import on_threads
from benchbench.kernels.optimizers import uncompiled

PILOT_EXAMPLES = {"cpu": 32, "cuda": 64}  # in the order of a batch: each call of a small network has a fixed cost
PILOT_SECONDS = 5.0  # a method that computes longer on the toy has no price; slow models are timed on fewer examples
PATIENCE = 12.0  # factor on it, in seconds of the clock: other work on the machine may take most of the time
PILOT_REPEATS = (2, 5)  # at least, and at most within half of the pilot's time; the best one counts


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Passes per example: forward, backward to the input alone, and backward to the weights."""

    forward: float = 0.0
    backward: float = 0.0
    weights: float = 0.0

    def times(self, examples: float) -> Passes:
        """The passes of this many examples."""
        return Passes(
            forward=examples * self.forward, backward=examples * self.backward, weights=examples * self.weights
        )

    def __add__(self, other: Passes) -> Passes:
        return Passes(
            forward=self.forward + other.forward,
            backward=self.backward + other.backward,
            weights=self.weights + other.weights,
        )


@dataclass(frozen=True, kw_only=True)
class PassSeconds:
    """Seconds of each of the `Passes` of one example."""

    forward: float
    backward: float
    weights: float

    def cost(self, passes: Passes) -> float:
        """The seconds that these passes take."""
        return self.forward * passes.forward + self.backward * passes.backward + self.weights * passes.weights


@dataclass(frozen=True, kw_only=True)
class ModelBytes:
    """The memory of a model."""

    parameters: int
    state: int  # weights and buffers, as in a checkpoint
    activations: int  # kept per example for a backward pass to the weights, without the kernels' workspace


class _Counter(nn.Module):
    """A linear classifier that counts the examples passing through it in each direction."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, classes)
        self._begun = time.thread_time(), time.monotonic()
        self.forwards = self.backwards = self.to_weights = 0

    def forward(self, images: Tensor) -> Tensor:
        computed, waited = time.thread_time() - self._begun[0], time.monotonic() - self._begun[1]
        if computed > PILOT_SECONDS or waited > PATIENCE * PILOT_SECONDS:
            raise TimeoutError(f"its passes could not be counted within {PILOT_SECONDS:g} s")
        self.forwards += len(images)
        logits: Tensor = self.linear(images.flatten(1))
        if logits.requires_grad:
            logits.register_hook(self._count)  # type: ignore[no-untyped-call]
        return logits

    def _count(self, gradient: Tensor) -> None:
        if self.linear.weight.requires_grad:
            self.to_weights += len(gradient)
        else:
            self.backwards += len(gradient)

    def passes(self, examples: int) -> Passes:
        return Passes(
            forward=self.forwards / examples, backward=self.backwards / examples, weights=self.to_weights / examples
        )


class _PerfectEvidence:
    """Evidence about a model that is always robust, to count the passes of a metric."""

    def __init__(self, model: _Counter, images: Tensor, threat: Threat) -> None:
        self.model, self.threat = model, threat
        self._examples = Examples(inputs=images, labels=torch.zeros(len(images), dtype=torch.int64))

    def examples(self, split: str) -> Examples:
        return self._examples

    def correct(self, split: str) -> Tensor:
        return torch.ones(len(self._examples), dtype=torch.bool)

    def robust(self, split: str) -> Tensor:
        return self.correct(split)

    def batches(self, split: str, purpose: str) -> Iterator[tuple[Tensor, Tensor, KeyedGenerator]]:
        yield self._examples.inputs, self._examples.labels, KeyedGenerator(0, torch.arange(len(self._examples)))


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A training that makes a model, or a helper network before it."""

    passes: Passes  # of a step, per example
    recipe: Recipe


def training_phases(
    defense: AnyDefense, input_shape: tuple[int, ...], classes: int, threat: Threat, recipe: Recipe
) -> tuple[Phase, ...]:
    """The trainings that a defense orders, and then its own; a `FittingDefense` has none."""
    model, images, labels, generator = _toy(input_shape, classes, threat)
    ordered = _prepared(defense, model, Examples(inputs=images, labels=labels), recipe)
    phases = [one for helper, of in ordered for one in training_phases(helper, input_shape, classes, threat, of)]
    if isinstance(defense, FittingDefense):
        return tuple(phases)
    announce(defense, Progress(epoch=1, step=0, epochs=2, steps=1))  # half of the training is over
    if isinstance(defense, SteppingDefense):
        optimizer = uncompiled(torch.optim.SGD)(model.parameters(), lr=1e-6)
        defense.step(model, images, labels, threat=threat, generator=generator, optimizer=optimizer)
    else:
        loss = defense.loss(model, images, labels, threat=threat, generator=generator).loss
        loss.backward()  # type: ignore[no-untyped-call]
    return (*phases, Phase(passes=model.passes(len(images)), recipe=recipe))


def _prepared(
    defense: AnyDefense, model: nn.Module, examples: Examples, recipe: Recipe
) -> list[tuple[LoopDefense, Recipe]]:
    """Let a defense prepare, with the model as helper network; the trainings that it ordered."""
    ordered: list[tuple[LoopDefense, Recipe]] = []

    def train(_: str, helper: LoopDefense, own: Recipe) -> nn.Module:
        ordered.append((helper, own))
        return model

    host = TrainingHost(
        recipe=recipe,
        model=model,
        extra_examples=lambda _: ExtraExamples(examples, seed=0, device=torch.device("cpu")),
        train=train,
    )
    if isinstance(defense, PreparedDefense):
        defense.prepare(host)
    return ordered


def attack_passes(attack: Attack, input_shape: tuple[int, ...], classes: int, threat: Threat) -> Passes:
    """Count the passes of one attack per example, for examples that withstand it."""
    model, images, labels, generator = _toy(input_shape, classes, threat)
    with torch.no_grad():  # a model that nothing fools: attacks that stop early run to their end
        model.linear.weight.mul_(1e-3)
        model.linear.bias.fill_(-1e3)
        model.linear.bias[0] = 1e3
    with frozen(model.eval()):
        attack.perturb(model, images, torch.zeros_like(labels), threat=threat, generator=generator)
    return model.passes(len(images))


def metric_passes(metric: Metric, input_shape: tuple[int, ...], classes: int, threat: Threat) -> Passes:
    """Count the passes per test example that a metric adds to those of the attack."""
    model, images, _, _ = _toy(input_shape, classes, threat)
    with frozen(model.eval()):
        metric.measure(_PerfectEvidence(model, images, threat))
    return model.passes(len(images))


def weigh(model: nn.Module, input_shape: tuple[int, ...], device: torch.device) -> ModelBytes:
    """Measure the memory of a model; activations are those of a forward pass of one example."""
    model = model.to(device).eval()
    own = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(torch.rand(1, *input_shape, device=device))
    del logits
    return ModelBytes(
        parameters=_bytes(model.parameters()), state=_bytes(model.state_dict().values()), activations=sum(kept.values())
    )


def time_passes(model: nn.Module, input_shape: tuple[int, ...], device: torch.device) -> PassSeconds:
    """Time the passes of a model on a few examples.

    On a CPU this is the time that the thread computes, so that other work on the machine does not count. Several threads on
    busy cores wait for each other: if one thread alone is faster, its time counts.
    """
    model = model.to(device).eval()
    best = _best_times(model, input_shape, device)
    if device.type == "cpu" and torch.get_num_threads() > 1:
        with on_threads(1):
            best = [min(pair) for pair in zip(best, _best_times(model, input_shape, device))]
    forward, backward, weights = best
    return PassSeconds(forward=forward, backward=backward, weights=weights)


def _best_times(model: nn.Module, input_shape: tuple[int, ...], device: torch.device) -> list[float]:
    """Seconds per example of each pass, the best of several repeats."""
    once = _time(model, torch.rand(1, *input_shape, device=device), device)  # it also warms up the kernels
    least, most = PILOT_REPEATS
    whole = PILOT_EXAMPLES.get(device.type, PILOT_EXAMPLES["cpu"])
    count = max(1, min(whole, int(PILOT_SECONDS / (least * max(sum(once), 1e-9)))))
    images = torch.rand(count, *input_shape, device=device)
    end = time.monotonic() + PILOT_SECONDS / 2
    times: list[tuple[float, float, float]] = []
    while len(times) < least or (len(times) < most and time.monotonic() < end):
        times.append(_time(model, images, device))
    return [min(column) / count for column in zip(*times)]


def _time(model: nn.Module, images: Tensor, device: torch.device) -> tuple[float, float, float]:
    """Seconds of a pass forward, backward to the input, and backward to the weights."""
    with frozen(model):
        candidates = images.clone().requires_grad_()
        began = _now(device)
        logits = model(candidates)
        middle = _now(device)
        torch.autograd.grad(logits.sum(), candidates)
        ended = _now(device)
    logits = model(images)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = _now(device)
    torch.autograd.grad(logits.sum(), parameters, allow_unused=True)
    return middle - began, ended - middle, _now(device) - before


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _toy(input_shape: tuple[int, ...], classes: int, threat: Threat) -> tuple[_Counter, Tensor, Tensor, KeyedGenerator]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _Counter(math.prod(input_shape), classes)
    generator = KeyedGenerator(0, torch.arange(4))
    low, high = max(threat.lower, 0.0), min(threat.upper, 1.0)
    images = generator.child("images").uniform(*input_shape, low=low, high=high)
    return model, images, torch.arange(4) % classes, generator


def _now(device: torch.device) -> float:
    """The clock; on a CPU the compute time of this thread, which takes a share of all work."""
    if device.type == "cpu":
        return time.thread_time()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
