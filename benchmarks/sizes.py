"""How an attack's cost grows with the model's size: ten steps of PGD on growing networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchbench.builtin.architectures.cnn import make_cnn1, make_cnn2
from benchbench.builtin.architectures.wide_resnet import make_wide_resnet
from benchbench.builtin.attacks.pgd import Pgd
from benchmarks.attacks import perturbed
from benchmarks.contest import Contender, Ratio, compete
from benchmarks.limit import input_gradients
from benchmarks.subjects import BATCH, own_copy

GREY, COLOURED = (1, 28, 28), (3, 32, 32)
STEPS = 2  # cost is linear in steps and images: a part of the work, counted in full
LARGEST = 32e6  # multiply-adds per image with which a whole batch is worked on


@dataclass(frozen=True, kw_only=True)
class Size:
    """One network.

    Attributes:
        multiply_adds: of a forward pass of one image.
        limit: cost of ten forward and input-gradient passes over 64 images, in passes of CNN2.
        ours: cost of PGD-10 on them, likewise.
        of_limit: ours over the limit of the same network.
    """

    multiply_adds: float
    limit: Ratio
    ours: Ratio
    of_limit: Ratio


def along_sizes(rounds: int) -> dict[str, Size]:
    """Measure every network, all interleaved."""
    models = make_models()
    contenders, adds = {}, {}
    for name, (model, shape) in models.items():
        adds[name] = multiply_adds(model, shape)
        count = BATCH if adds[name] < LARGEST else BATCH // 4
        share = count / BATCH * STEPS / 10
        limit, ours = _works(model, shape, count)
        contenders[f"{name} limit"] = Contender(work=limit, share=share)
        contenders[f"{name} ours"] = Contender(work=ours, share=share)
    in_passes = compete(contenders, reference="cnn2 limit", rounds=rounds)
    return {
        name: Size(
            multiply_adds=adds[name],
            limit=_times(in_passes[f"{name} limit"], 10.0),
            ours=_times(in_passes[f"{name} ours"], 10.0),
            of_limit=_over(in_passes[f"{name} ours"], in_passes[f"{name} limit"].median),
        )
        for name in models
    }


def make_models() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Networks with random weights by name, with the shape of their inputs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
            "cnn1": (make_cnn1(input_shape=GREY, classes=10), GREY),
            "cnn2": (make_cnn2(input_shape=GREY, classes=10), GREY),
        }
        for depth, width in ((10, 1), (16, 1), (16, 2), (16, 4)):
            model = make_wide_resnet(input_shape=COLOURED, classes=10, depth=depth, width=width)
            made[f"wrn-{depth}-{width}"] = (model, COLOURED)
    return {name: (model.eval(), shape) for name, (model, shape) in made.items()}


def multiply_adds(model: nn.Module, shape: tuple[int, ...]) -> float:
    """Multiply-adds of one image's forward pass: half of the operations that torch counts."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *shape))
    return counter.get_total_flops() / 2


def _works(model: nn.Module, shape: tuple[int, ...], count: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """The passes of the limit and of PGD on random images, each with its own copy of the model."""
    images = torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(count, dtype=torch.int64)
    bare, own = own_copy(model), own_copy(model)
    return (
        lambda: input_gradients(bare, images, labels, passes=STEPS),
        lambda: perturbed(Pgd(steps=STEPS), own, images, labels),
    )


def _times(found: Ratio, factor: float) -> Ratio:
    return Ratio(median=factor * found.median, low=factor * found.low, high=factor * found.high)


def _over(found: Ratio, limit: float) -> Ratio:
    return _times(found, 1.0 / limit)
