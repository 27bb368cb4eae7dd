"""On a GPU: steps of attacks and trainings, plain and as CUDA graphs, in float32, TF32 and bfloat16, against their bare passes.

    python -m benchmarks.device --device cuda

Images are random: speed does not depend on their content. The bare passes are full float32 (no TF32) in the contiguous
layout; all contenders use the deterministic kernels of a run. With ``--device cpu`` it runs too, for its tests, but records
nothing. ``benchmarks.jobs --device cuda`` measures several processes on one GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from benchbench.builtin.architectures.wide_resnet import make_wide_resnet
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.builtin.defenses.adversarial import AdversarialTraining
from benchbench.contract import Examples
from benchbench.kernels.arithmetic import PRECISIONS, Precision
from benchbench.kernels.determinism import deterministic
from benchbench.kernels.graphs import recording
from benchbench.training.loop import make_optimizer
from benchmarks.attacks import perturbed
from benchmarks.contest import Contender, compete, show, versions
from benchmarks.limit import adversarial_epoch, input_gradients
from benchmarks.subjects import own_copy, untrained
from benchmarks.training import RECIPE, epoch

GREY, COLOURED = (1, 28, 28), (3, 32, 32)
EQUAL_CANDIDATES = 0.99  # least share of equal pixels after plain and recorded steps; all are expected


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """A network and images on a device."""

    model: nn.Module
    images: Tensor
    labels: Tensor

    @property
    def device(self) -> torch.device:
        """The device of the images."""
        return self.images.device


def main(arguments: list[str] | None = None) -> None:
    """Check, time and print."""
    options = _parser().parse_args(arguments)
    device = torch.device(options.device)
    graphs = (False, True) if device.type == "cuda" else (False,)
    print(f"{versions()}; {torch.cuda.get_device_name(device) if device.type == 'cuda' else 'a CPU'}")
    small = problem(untrained(), GREY, options.examples, device)
    with deterministic(device):
        if len(graphs) > 1:
            print(check_graphs(small))
        ratios = compete(attack_contenders(small, graphs), reference="limit", rounds=options.rounds)
        show(f"PGD-10, CNN2, {options.examples} images, multiples of 10 passes over batches of 64", ratios, {})
        ratios = compete(training_contenders(small, graphs), reference="limit", rounds=options.rounds)
        show(
            f"An epoch of AT, CNN2, {options.examples} images in batches of 64, multiples of its bare passes",
            ratios,
            {},
        )
        depth, width = options.wide
        wide = problem(
            make_wide_resnet(input_shape=COLOURED, classes=10, depth=depth, width=width),
            COLOURED,
            options.wide_examples,
            device,
        )
        ratios = compete(training_contenders(wide, (False,)), reference="limit", rounds=max(1, options.rounds // 2))
        show(f"An epoch of AT, WRN-{depth}-{width}, multiples of its bare passes", ratios, {"AT, float32": 1.1})


def problem(model: nn.Module, shape: tuple[int, ...], count: int, device: torch.device) -> Problem:
    """Random images in [0, 1]; CNN2's last layer of zeros gets weights, so that gradients are not zero."""
    generator = torch.Generator().manual_seed(0)
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    nn.init.normal_(last.weight, std=0.05, generator=generator)
    return Problem(
        model=model.to(device),
        images=torch.rand(count, *shape, generator=generator).to(device),
        labels=torch.randint(0, 10, (count,), generator=generator).to(device),
    )


def check_graphs(chosen: Problem) -> str:
    """Compare candidates of recorded steps with those of plain ones.

    Raises:
        SystemExit: they differ.
    """
    plain, recorded = attack(chosen, "float32", graphs=False)(), attack(chosen, "float32", graphs=True)()
    same = float((plain == recorded).float().mean())
    if same < EQUAL_CANDIDATES:
        raise SystemExit(f"recorded steps: {same:.5f} of the pixels equal those of plain steps: no times")
    return f"recorded steps: {same:.5f} of the pixels equal those of plain steps"


def attack(chosen: Problem, precision: Precision, *, graphs: bool) -> Callable[[], Tensor]:
    """PGD-10 by benchbench on the device."""
    model = own_copy(chosen.model).eval()

    def work() -> Tensor:
        with _recorded(graphs):
            return perturbed(Pgd(), model, chosen.images, chosen.labels, precision)

    return work


def attack_contenders(chosen: Problem, graphs: tuple[bool, ...]) -> dict[str, Contender]:
    """Every precision, plainly and recorded."""
    bare = own_copy(chosen.model).eval()
    limit = awaited(lambda: input_gradients(bare, chosen.images, chosen.labels, passes=10), chosen.device)
    return {"limit": limit} | {
        _name("PGD", precision, recorded): awaited(attack(chosen, precision, graphs=recorded), chosen.device)
        for precision in PRECISIONS
        for recorded in graphs
    }


def training_contenders(chosen: Problem, graphs: tuple[bool, ...]) -> dict[str, Contender]:
    """An epoch of AT in every precision, plainly and recorded."""
    limit = awaited(lambda: bare_epoch(chosen), chosen.device)
    return {"limit": limit} | {
        _name("AT", precision, recorded): awaited(_epoch(chosen, precision, recorded), chosen.device)
        for precision in PRECISIONS
        for recorded in graphs
    }


def bare_epoch(chosen: Problem) -> None:
    """An epoch of AT without any code of benchbench."""
    model = own_copy(chosen.model)
    adversarial_epoch(model, chosen.images, chosen.labels, make_optimizer(model, RECIPE))


def awaited(work: Callable[[], object], device: torch.device) -> Contender:
    """A contender whose work includes the wait for the device."""

    def whole() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return Contender(work=whole)


def _epoch(chosen: Problem, precision: Precision, graphs: bool) -> Callable[[], object]:
    examples = Examples(inputs=chosen.images.mul(255).to(torch.uint8).cpu(), labels=chosen.labels.cpu())

    def work() -> object:
        with _recorded(graphs):
            return epoch(chosen.model, AdversarialTraining(), examples, precision, chosen.device)

    return work


def _recorded(graphs: bool) -> AbstractContextManager[None]:
    return recording() if graphs else nullcontext()


def _name(method: str, precision: Precision, graphs: bool) -> str:
    return f"{method}, {precision}{', recorded' if graphs else ''}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--examples", type=int, default=4096, help="images for CNN2; a multiple of 64")
    parser.add_argument("--wide", type=int, nargs=2, default=(40, 10), metavar=("DEPTH", "WIDTH"))
    parser.add_argument("--wide-examples", type=int, default=256, help="images for the wide network")
    parser.add_argument("--rounds", type=int, default=7)
    return parser


if __name__ == "__main__":
    main()
