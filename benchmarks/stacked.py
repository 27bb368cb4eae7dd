"""Ten models of one architecture trained as one stacked program, against ten trainings.

    python -m benchmarks.stacked [--architecture mlp|cnn2]... [--defense natural|at] [--models 10] [--rounds 3]
    BENCHBENCH_PRETEND_CUDA=1 PYTHONPATH=tests/pretend_cuda/site:tests:. python -m benchmarks.stacked --device cuda

An experiment, on scikit-learn's digits: the parameters of all models are stacked, and `torch.vmap` turns a dense layer into a
batched product and a convolution into a grouped one. Each model keeps its own order of examples and draws, so its weights are
those of a separate run up to rounding, which is checked before anything is timed. Costs are a ratio of processor time. On the
pretend CUDA device the kernels are counted instead. benchbench trains this way only once a real GPU is three times as fast.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from benchbench.builtin.architectures.cnn import make_cnn2
from benchbench.builtin.architectures.mlp import make_mlp
from benchbench.builtin.datasets.digits import Digits
from benchbench.builtin.defenses.adversarial import AdversarialTraining
from benchbench.builtin.defenses.natural import Natural
from benchbench.contract import Defense, Examples, KeyedGenerator, Threat, as_model_input, derive_seed
from benchbench.contract.recipe import Recipe
from benchbench.settings import find_folders
from benchbench.training import TrainingJob, train
from benchbench.training.loop import make_optimizer
from benchmarks.contest import Contender, compete

DEFENSES: dict[str, Callable[[], Defense]] = {"natural": Natural, "at": AdversarialTraining}
RECIPE = Recipe(optimizer="sgd", learning_rate=1e-3, momentum=0.9, batch_size=64, epochs=1)
THREAT = Threat(epsilon=0.1)
# float32's rounding, amplified by training. An attack's step is a sign: where a gradient is nearly 0 it may differ, later all.
EQUAL = 1e-4


def network(architecture: str, shape: Sequence[int]) -> nn.Module:
    """An untrained network; CNN2 without dropout, whose draws are not keyed by example."""
    if architecture == "mlp":
        return make_mlp(input_shape=tuple(shape), classes=10)
    model = make_cnn2(input_shape=tuple(shape), classes=10)
    model.dropout = nn.Identity()
    return model


def jobs_of(architecture: str, defense: Defense, examples: Examples, *, models: int, device: str) -> list[TrainingJob]:
    """The trainings of some models that differ in their seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = [network(architecture, examples.inputs.shape[1:]) for _ in range(models)]
    shared = TrainingJob(
        model=networks[0],
        defense=defense,
        examples=examples,
        rows=torch.arange(len(examples)),
        threat=THREAT,
        recipe=RECIPE,
        seed=0,
        device=torch.device(device),
    )
    return [dataclasses.replace(shared, model=model, seed=seed) for seed, model in enumerate(networks)]


class Stack(nn.Module):
    """M networks as one: images (M * N, ...), network by network, to logits (M * N, classes)."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        parameters, buffers = stack_module_state(list(members))
        if buffers:
            raise ValueError("networks with buffers, such as batch normalisation's statistics, are not stacked")
        self.members, self.names = len(members), tuple(parameters)
        self.weights = nn.ParameterList(nn.Parameter(weight.detach().clone()) for weight in parameters.values())
        self.skeleton = [copy.deepcopy(members[0]).to("meta")]  # in a list, so that it is no part of the module

    def forward(self, images: Tensor) -> Tensor:
        """Logits of each network for its own images."""
        parts = images.reshape(self.members, -1, *images.shape[1:])
        logits: Tensor = torch.vmap(self._one)(dict(zip(self.names, self.weights)), parts)
        return logits.flatten(0, 1)

    def member(self, number: int) -> dict[str, Tensor]:
        """The parameters of one network, by name."""
        return {name: weight[number].detach() for name, weight in zip(self.names, self.weights)}

    def _one(self, weights: dict[str, Tensor], images: Tensor) -> Any:
        return functional_call(self.skeleton[0], weights, (images,))


@dataclasses.dataclass(frozen=True)
class StackedKeys:
    """The keys of each member's draws; see `benchbench.contract.seeds.Keys`."""

    seeds: tuple[int, ...]
    member: Tensor  # int64 (M * N,)

    def key(self, draw: int) -> Tensor:
        """The key of a draw for each row."""
        return torch.tensor([derive_seed(seed, draw) for seed in self.seeds]).to(self.member.device)[self.member]

    def child(self, *purpose: int | str) -> StackedKeys:
        """The keys of an independent generator."""
        return StackedKeys(tuple(derive_seed(seed, *purpose) for seed in self.seeds), self.member)

    def take(self, selection: Tensor) -> StackedKeys:
        """The keys for some of the rows."""
        return StackedKeys(self.seeds, self.member[selection])


def train_stacked(jobs: Sequence[TrainingJob]) -> Stack:
    """Train the models of jobs that differ in model and seed only, each as `train` would."""
    first, members = jobs[0], torch.arange(len(jobs), device=jobs[0].device)
    inputs, labels = first.examples.inputs.to(first.device), first.examples.labels.to(first.device)
    stack = Stack([job.model for job in jobs]).to(first.device).train()
    whole, optimizer = dataclasses.replace(first, model=stack), make_optimizer(stack, first.recipe)
    for epoch in range(first.recipe.epochs):
        seeds = tuple(derive_seed(job.seed, "train", epoch) for job in jobs)
        draws = [torch.Generator().manual_seed(derive_seed(job.seed, "order", epoch)) for job in jobs]
        orders = torch.stack([torch.randperm(len(labels), generator=draw) for draw in draws]).to(first.device)
        for chosen in torch.split(orders, first.recipe.batch_size, dim=1):
            keys, places = StackedKeys(seeds, members.repeat_interleave(chosen.shape[1])), chosen.flatten()
            generator = KeyedGenerator(keys, first.rows.to(first.device)[places]).child("defense")
            optimizer.zero_grad()
            whole.loss(as_model_input(inputs[places]), labels[places], generator).loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return stack


def train_apart(jobs: Sequence[TrainingJob]) -> list[nn.Module]:
    """Train copies of the models one after the other, by benchbench."""
    return [train(dataclasses.replace(job, model=copy.deepcopy(job.model))).model for job in jobs]


def apart(stack: Stack, models: Sequence[nn.Module]) -> float:
    """The largest difference between a weight in the stack and in a model trained by itself."""
    pairs = ((stack.member(place), dict(model.named_parameters())) for place, model in enumerate(models))
    return max(float((ours[name] - theirs[name].detach()).abs().max()) for ours, theirs in pairs for name in ours)


def launches(work: Callable[[], object]) -> int:
    """Kernels that some work would launch; on the pretend device."""
    with sys.modules["pretend_cuda"].counting() as tally:
        work()
    return int(tally.launches.total())


def compare(jobs: Sequence[TrainingJob], rounds: int) -> str:
    """One line: how far the weights are apart, and the cost of the stack over that of the runs.

    Raises:
        SystemExit: the weights differ by more than rounding.
    """
    difference = apart(train_stacked(jobs), train_apart(jobs))
    if not difference <= EQUAL:
        raise SystemExit(f"weights differ by {difference:.2g}: nothing is measured")
    ways = {"apart": lambda: train_apart(jobs), "stacked": lambda: train_stacked(jobs)}
    if jobs[0].device.type == "cuda" and "pretend_cuda" in sys.modules:
        own, stacked = (launches(way) for way in ways.values())
        return f"weights within {difference:.1g}; launches {own:,} apart, {stacked:,} stacked: {stacked / own:.2f}"
    contenders = {name: Contender(work=way, elsewhere=jobs[0].device.type == "cuda") for name, way in ways.items()}
    ratio = compete(contenders, reference="apart", rounds=rounds)["stacked"]
    return f"weights within {difference:.1g}; cost of the stack {ratio}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare and print a line for each architecture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", nargs="+", choices=("mlp", "cnn2"), default=["mlp", "cnn2"])
    parser.add_argument("--defense", choices=tuple(DEFENSES), default="at")
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    whole = Digits().load(find_folders().source()).train
    examples = Examples(inputs=whole.inputs[: chosen.examples], labels=whole.labels[: chosen.examples])
    for architecture in chosen.architecture:
        defense = DEFENSES[chosen.defense]()
        jobs = jobs_of(architecture, defense, examples, models=chosen.models, device=chosen.device)
        print(f"{architecture}, {chosen.models} models, {chosen.defense}: {compare(jobs, chosen.rounds)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
