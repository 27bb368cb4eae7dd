"""Speeds on a GPU against bare passes: attacks, Lipschitzness and trainings.

    python -m benchmarks.speeds --device cuda

Each runs plain and as CUDA graphs, in float32, TF32 and bfloat16, on random images: content does not affect speed.
Bare passes are full float32 (no TF32), contiguous layout; all contenders use a run's deterministic kernels. ``--device
cpu`` is for tests and records nothing. ``benchmarks.device`` runs this after the checks; ``benchmarks.jobs --device
cuda`` measures what several processes on one GPU gain.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from benchbench.builtin.architectures.wide_resnet import make_wide_resnet
from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.builtin.defenses.adversarial import AdversarialTraining
from benchbench.builtin.defenses.trades import Trades
from benchbench.contract import Attack, Defense, Examples
from benchbench.kernels.arithmetic import PRECISIONS, Precision
from benchbench.kernels.determinism import deterministic
from benchbench.kernels.graphs import recording
from benchbench.training.loop import make_optimizer
from benchmarks.attacks import MT_PASSES, perturbed
from benchmarks.contest import Contender, compete, versions
from benchmarks.ledger import Ledger
from benchmarks.limit import adversarial_epoch, input_gradients
from benchmarks.lipschitz import estimate
from benchmarks.subjects import own_copy, untrained
from benchmarks.training import RECIPE, epoch

GREY, COLOURED = (1, 28, 28), (3, 32, 32)
Ways = tuple[tuple[Precision, bool], ...]  # a precision, and whether steps are recorded
FEWER = 8  # MT takes 18 times as many passes as PGD, so it competes on a part of the images
METHODS: dict[str, Defense] = {"AT": AdversarialTraining(), "TRADES": Trades(beta=6.0)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """A network and images on a device."""

    model: nn.Module
    images: Tensor
    labels: Tensor

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.images.device

    def part(self, count: int) -> Problem:
        """The same on the first images."""
        return dataclasses.replace(self, images=self.images[:count], labels=self.labels[:count])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Competition:
    """Contenders for one table, made at their turn, each with a copy of the model on the device."""

    title: str
    contenders: Callable[[], dict[str, Contender]]
    rounds: int
    goals: dict[str, float] = dataclasses.field(default_factory=dict)


def main(arguments: list[str] | None = None) -> None:
    """Time and print, one competition after the other; one that fails is kept as a fault."""
    options = _parser().parse_args(arguments)
    ledger, device = Ledger(path=options.ledger), torch.device(options.device)
    print(f"{versions()}; {torch.cuda.get_device_name(device) if device.type == 'cuda' else 'a CPU'}")
    with deterministic(device):
        for competition in competitions(options, device):
            try:
                ratios = compete(competition.contenders(), reference="limit", rounds=competition.rounds)
                ledger.ratios(competition.title, ratios, competition.goals)
            except Exception as error:
                ledger.fault(competition.title, error)


def competitions(options: argparse.Namespace, device: torch.device) -> Iterator[Competition]:
    """All of them, those that matter most first."""
    plain: Ways = tuple((precision, False) for precision in options.precisions)
    ways = plain + tuple((precision, True) for precision in options.precisions if device.type == "cuda")
    small = problem(untrained(), GREY, options.examples, device)
    few = small.part(max(64, options.examples // FEWER))
    on = f"CNN2, {options.examples} images in batches of 64"
    for method in METHODS:
        yield Competition(
            title=f"An epoch of {method}, {on}, multiples of AT's bare passes",
            contenders=lambda method=method: training_contenders(small, ways, method),  # type: ignore[misc]
            rounds=options.rounds,
        )
    yield Competition(
        title=f"PGD-10, {on}, multiples of 10 passes",
        contenders=lambda: attack_contenders(small, ways, Pgd(), passes=10),
        rounds=options.rounds,
    )
    depth, width = options.wide
    yield Competition(
        title=f"An epoch of AT, WRN-{depth}-{width}, {options.wide_examples} images, multiples of its bare passes",
        contenders=lambda: training_contenders(wide_problem(depth, width, options.wide_examples, device), plain, "AT"),
        rounds=max(1, options.rounds // 2),
        goals={"AT, float32": 1.1},
    )
    yield Competition(
        title=f"Lipschitzness, CNN2, {len(few.images)} images, multiples of 10 passes",
        contenders=lambda: lipschitz_contenders(few, ways),
        rounds=options.rounds,
    )
    yield Competition(
        title=f"MT on a model that nothing fools, CNN2, {len(few.images)} images, multiples of {MT_PASSES} passes",
        contenders=lambda: attack_contenders(unfooled(few), ways, MultiTargeted(), passes=MT_PASSES),
        rounds=max(1, options.rounds // 2),
    )


def problem(model: nn.Module, shape: tuple[int, ...], count: int, device: torch.device) -> Problem:
    """Random images in [0, 1]; CNN2's last layer of zeros gets weights, hence a gradient."""
    generator = torch.Generator().manual_seed(0)
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    nn.init.normal_(last.weight, std=0.05, generator=generator)
    return Problem(
        model=model.to(device),
        images=torch.rand(count, *shape, generator=generator).to(device),
        labels=torch.randint(0, 10, (count,), generator=generator).to(device),
    )


def unfooled(chosen: Problem) -> Problem:
    """The problem with a model that nothing fools: attacks that stop early take all their steps."""
    model = own_copy(chosen.model)
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        last.bias.fill_(-1e3)[0] = 1e3
    return dataclasses.replace(chosen, model=model, labels=torch.zeros_like(chosen.labels))


def wide_problem(depth: int, width: int, count: int, device: torch.device) -> Problem:
    """A wide residual network and random coloured images."""
    return problem(
        make_wide_resnet(input_shape=COLOURED, classes=10, depth=depth, width=width), COLOURED, count, device
    )


def attack_contenders(chosen: Problem, ways: Ways, attack: Attack, *, passes: int) -> dict[str, Contender]:
    """Every precision, plainly and recorded; where the limit is long it does a part of the work."""
    bare, done = own_copy(chosen.model).eval(), min(passes, 30)
    limit = awaited(lambda: input_gradients(bare, chosen.images, chosen.labels, passes=done), chosen.device)
    return {"limit": dataclasses.replace(limit, share=done / passes)} | _everyone(
        "", lambda precision: _attacking(chosen, attack, precision), chosen.device, ways
    )


def lipschitz_contenders(chosen: Problem, ways: Ways) -> dict[str, Contender]:
    """The same for Lipschitzness."""
    bare = own_copy(chosen.model).eval()

    def estimating(precision: Precision) -> Callable[[], object]:
        model = own_copy(chosen.model).eval()
        return lambda: estimate(model, chosen.images, chosen.labels, precision)

    limit = awaited(lambda: input_gradients(bare, chosen.images, chosen.labels, passes=10), chosen.device)
    return {"limit": limit} | _everyone("", estimating, chosen.device, ways)


def training_contenders(chosen: Problem, ways: Ways, method: str) -> dict[str, Contender]:
    """An epoch in every precision, plainly and recorded."""
    limit = awaited(lambda: bare_epoch(chosen), chosen.device)
    return {"limit": limit} | _everyone(
        method, lambda precision: _epoch(chosen, METHODS[method], precision), chosen.device, ways
    )


def _everyone(
    method: str, make: Callable[[Precision], Callable[[], object]], device: torch.device, ways: Ways
) -> dict[str, Contender]:
    """A contender for each precision, plain and recorded."""
    return {
        _name(method, precision, recorded): awaited(make(precision), device, recorded=recorded)
        for precision, recorded in ways
    }


def bare_epoch(chosen: Problem) -> None:
    """An epoch of AT without anything of benchbench's."""
    model = own_copy(chosen.model)
    adversarial_epoch(model, chosen.images, chosen.labels, make_optimizer(model, RECIPE))


def awaited(work: Callable[[], object], device: torch.device, *, recorded: bool = False) -> Contender:
    """A contender whose work is over when the device is done."""

    def whole() -> None:
        with _recorded(recorded):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return Contender(work=whole, elsewhere=device.type == "cuda")


def _attacking(chosen: Problem, attack: Attack, precision: Precision) -> Callable[[], Tensor]:
    model = own_copy(chosen.model).eval()
    return lambda: perturbed(attack, model, chosen.images, chosen.labels, precision)


def _epoch(chosen: Problem, defense: Defense, precision: Precision) -> Callable[[], object]:
    examples = Examples(inputs=chosen.images.mul(255).to(torch.uint8).cpu(), labels=chosen.labels.cpu())
    return lambda: epoch(chosen.model, defense, examples, precision, chosen.device)


def _recorded(graphs: bool) -> AbstractContextManager[None]:
    return recording() if graphs else nullcontext()


def _name(method: str, precision: Precision, graphs: bool) -> str:
    return ", ".join(filter(None, (method, precision, "recorded" if graphs else "")))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--examples", type=int, default=4096, help="images for CNN2; a multiple of 64")
    parser.add_argument("--wide", type=int, nargs=2, default=(40, 10), metavar=("DEPTH", "WIDTH"))
    parser.add_argument("--wide-examples", type=int, default=256, help="images for the wide network")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS, choices=PRECISIONS)
    parser.add_argument("--ledger", type=Path, help="file that the ratios are appended to")
    return parser


if __name__ == "__main__":
    main()
