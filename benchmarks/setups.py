"""Which planted mistakes of a set-up `evaluate` finds; whether it suspects correct ones.

    python -m benchmarks.setups [--quick] [--half tuning|held-out]

Every set-up is evaluated by one step of PGD; seconds of processor time include it and the diagnostics. ``--quick`` takes
scikit-learn's digits alone, in grey and in colours.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.contract import DatasetSplits, Examples, Threat
from benchbench.data import LoadedDataset
from benchbench.errors import BenchbenchError
from benchbench.own_model.evaluating import evaluate_on
from benchbench.own_model.questions import Questions
from benchbench.registry import load_registry
from benchbench.registry.lookup import find_component
from benchbench.settings import find_folders
from benchmarks.zoo.case import Half
from benchmarks.zoo.layers import After, Before
from benchmarks.zoo.training import DEFENSES, digits, fit

EXAMPLES = 1000
RADII = {"digits": 0.1, "colours": 0.1, "mnist": 0.1, "cifar": 8 / 255, "cifar8k": 8 / 255}


@functools.cache
def data(name: str) -> DatasetSplits:
    """The digits in grey or in colours, part of MNIST, or part of CIFAR-10 (JPEG files)."""
    if name == "digits":
        return digits()
    if name == "colours":
        whole = digits()
        parts = [Examples(inputs=coloured(part.inputs), labels=part.labels) for part in (whole.train, whole.test)]
        return DatasetSplits(train=parts[0], test=parts[1], classes=whole.classes)
    registry, source = load_registry(), find_folders().source()
    entry = "mnist" if name == "mnist" else {"name": "parquet-images", "path": "cifar10-jpeg"}
    whole = registry.make("dataset", find_component(registry, "dataset", entry)).load(source)  # type: ignore[arg-type]
    count = {"mnist": 2000, "cifar": 3000, "cifar8k": 8000}[name]
    train, test = (
        (part.inputs[:size], part.labels[:size]) for part, size in ((whole.train, count), (whole.test, EXAMPLES))
    )
    return DatasetSplits(
        train=Examples(inputs=train[0], labels=train[1]),
        test=Examples(inputs=test[0], labels=test[1]),
        classes=whole.classes,
    )


def coloured(grey: Tensor) -> Tensor:
    """Red shows the digit, green its left neighbour, blue its negative, paler."""
    return torch.cat([grey, grey.roll(1, dims=3), 128 - grey // 2], dim=1)


def network(shape: tuple[int, ...], classes: int, kind: str) -> nn.Module:
    """``linear``, ``mlp``, ``cnn``, ``bn`` or ``dropout``, for images of a shape (C, H, W)."""
    features = shape[0] * shape[1] * shape[2]
    if kind == "linear":
        return nn.Sequential(nn.Flatten(), nn.Linear(features, classes))
    if kind == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(features, 128), nn.ReLU(), nn.Linear(128, classes))
    layers: list[nn.Module] = []
    for inputs, outputs in ((shape[0], 16), (16, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), *([nn.BatchNorm2d(outputs)] if kind == "bn" else [])]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    flat = 32 * (shape[1] // 4) * (shape[2] // 4)
    dropout = [nn.Dropout(0.5)] if kind == "dropout" else []
    return nn.Sequential(*layers, nn.Flatten(), *dropout, nn.Linear(flat, 64), nn.ReLU(), nn.Linear(64, classes))


def normalise(name: str) -> Callable[[Tensor], Tensor]:
    """By mean and deviation of a dataset, ``"half"`` or ``"imagenet"``; not at all for ``""``."""
    if not name:
        return lambda images: images
    if name == "half":
        return lambda images: (images - 0.5) / 0.5
    if name == "imagenet":
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    else:
        pixels = data(name).train.inputs.double() / 255
        mean, deviation = pixels.mean(dim=(0, 2, 3)).float(), pixels.std(dim=(0, 2, 3)).float()
    return lambda images: (images - mean.view(-1, 1, 1)) / deviation.view(-1, 1, 1)


@functools.cache
def trained(
    dataset: str,
    kind: str = "cnn",
    norm: str = "",
    seed: int = 0,
    epochs: int = 8,
    defense: str = "natural",
    radius: float = 0.0,
) -> tuple[nn.Module, nn.Module]:
    """A trained model, and what is inside its normalisation."""
    splits = data(dataset)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inner = network(tuple(splits.train.inputs.shape[1:]), len(splits.classes), kind)
        model = Before(inner, normalise(norm)) if norm else inner
        threat = Threat(epsilon=radius or RADII[dataset])
        return fit(model, splits.train, DEFENSES[defense](), threat=threat, seed=seed, epochs=epochs), inner


@dataclass(frozen=True, kw_only=True)
class SetUp:
    """A set-up: the kind of its mistake (empty for none), its data, and how its model is made."""

    name: str
    kind: str
    dataset: str
    make: Callable[[], Callable[[Tensor], Tensor]]
    half: Half
    epsilon: float | None = None
    norm: str = "linf"


@dataclass(frozen=True, kw_only=True)
class Found:
    """The kinds of mistakes that `evaluate` reports, what it says, and the time it takes."""

    kinds: tuple[str, ...]
    said: str
    accuracy: float
    seconds: float


def examine(setup: SetUp) -> Found:
    """Evaluate a set-up."""
    splits, registry, model = data(setup.dataset), load_registry(), setup.make()
    began = time.process_time()
    try:
        report = evaluate_on(
            model,
            setup.dataset,
            LoadedDataset(splits=splits, digest=""),
            Questions(
                threats=(Threat(norm=setup.norm, epsilon=setup.epsilon or RADII[setup.dataset]),),  # type: ignore[arg-type]
                attacks=(find_component(registry, "attack", {"name": "pgd", "steps": 1}),),
                n_test=EXAMPLES,
            ),
            registry=registry,
            device=torch.device("cpu"),
        )
    except BenchbenchError as error:
        kind = "wrong head" if "a wrong head" in error.hint else "radius" if "did you mean" in error.hint else "error"
        kind = "images are transposed" if "permute" in error.hint else kind
        return Found(kinds=(kind,), said=str(error), accuracy=float("nan"), seconds=time.process_time() - began)
    said = "; ".join(map(str, report.setup))
    kinds = tuple("radius" if one.kind.startswith("the radius") else one.kind for one in report.setup)
    return Found(kinds=kinds, said=said, accuracy=report.test_accuracy, seconds=time.process_time() - began)


MISSING, TWICE, PIXELS = (
    "normalisation is missing",
    "normalisation is applied twice",
    "the model expects pixels from 0 to 255",
)
BGR, TRANSPOSED, SOFTMAX, MODE = (
    "the model expects BGR",
    "images are transposed",
    "a softmax at the end",
    "training mode",
)
SHIFTED, PERMUTED, HEAD, RADIUS = "labels are shifted", "labels are permuted", "wrong head", "radius"
ORDER = [3, 5, 1, 0, 9, 2, 8, 4, 6, 7]


def missing(dataset: str, kind: str, norm: str, seed: int) -> Callable[[Tensor], Tensor]:
    """The network without the normalisation that it was trained behind."""
    return trained(dataset, kind, norm, seed)[1]


def twice(dataset: str, kind: str, norm: str, seed: int) -> Callable[[Tensor], Tensor]:
    """The normalisation is applied again outside."""
    return Before(trained(dataset, kind, norm, seed)[0], normalise(norm))


def divided(dataset: str, kind: str, norm: str, seed: int) -> Callable[[Tensor], Tensor]:
    """Pixels are divided by 255 once too often."""
    return Before(trained(dataset, kind, norm, seed)[0], lambda images: images / 255)


def swapped(dataset: str, kind: str, norm: str, seed: int) -> Callable[[Tensor], Tensor]:
    """Blue stands first."""
    return Before(trained(dataset, kind, norm, seed)[0], lambda images: images.flip(1))


def turned(dataset: str, kind: str, norm: str, seed: int) -> Callable[[Tensor], Tensor]:
    """Rows and columns are exchanged."""
    return Before(trained(dataset, kind, norm, seed)[0], lambda images: images.transpose(2, 3))


def channels_last(dataset: str, kind: str, norm: str, seed: int) -> Callable[[Tensor], Tensor]:
    """The model takes (N, height, width, channels)."""
    inner = trained(dataset, kind, norm, seed)[0]
    return lambda images: inner(images.permute(0, 3, 1, 2))


def probabilities(dataset: str, kind: str, norm: str, seed: int) -> Callable[[Tensor], Tensor]:
    """A softmax at the end."""
    return After(trained(dataset, kind, norm, seed)[0], lambda logits: logits.softmax(dim=1))


def training(dataset: str, kind: str, norm: str, seed: int) -> Callable[[Tensor], Tensor]:
    """A function that hides a model in training mode."""
    import copy

    model = copy.deepcopy(trained(dataset, kind, norm, seed)[0]).train()
    return lambda images: model(images)


def functional(dataset: str, kind: str, norm: str, seed: int) -> Callable[[Tensor], Tensor]:
    """Dropout by the function, which trains by default."""
    return After(trained(dataset, kind, norm, seed)[0], nn.functional.dropout)


def shifted(dataset: str, kind: str, norm: str, seed: int, step: int = 1) -> Callable[[Tensor], Tensor]:
    """Labels that count from 1, or from -1."""
    return After(trained(dataset, kind, norm, seed)[0], lambda logits: logits.roll(step, dims=1))


def permuted(dataset: str, kind: str, norm: str, seed: int) -> Callable[[Tensor], Tensor]:
    """Another order of the classes."""
    return After(trained(dataset, kind, norm, seed)[0], lambda logits: logits[:, ORDER])


def headed(dataset: str, kind: str, norm: str, seed: int, classes: int = 11) -> Callable[[Tensor], Tensor]:
    """A head of another number of classes."""
    inner = trained(dataset, kind, norm, seed)[0]
    return After(inner, lambda logits: torch.cat([torch.full((len(logits), classes - 10), -9.0), logits], dim=1))


def as_is(dataset: str, kind: str, norm: str, seed: int) -> Callable[[Tensor], Tensor]:
    """The model itself."""
    return trained(dataset, kind, norm, seed)[0]


def mistakes() -> Iterator[SetUp]:
    """40 planted mistakes, some on each data; every other one is held out."""
    makers: list[tuple[str, Callable[..., Callable[[Tensor], Tensor]], str]] = [
        (
            MISSING,
            missing,
            "digits cnn half, colours bn imagenet, mnist bn mnist, cifar8k bn cifar8k, digits bn digits, cifar8k bn imagenet",
        ),
        (TWICE, twice, "digits cnn half, colours bn half, mnist bn half, digits bn half, colours bn imagenet"),
        (PIXELS, divided, "digits cnn, colours bn half, mnist dropout, cifar bn cifar"),
        (BGR, swapped, "colours cnn, cifar bn cifar, cifar cnn, colours mlp imagenet"),
        (TRANSPOSED, turned, "digits cnn, mnist mlp, cifar bn cifar"),
        (TRANSPOSED, channels_last, "cifar cnn"),
        (SOFTMAX, probabilities, "digits mlp, mnist cnn mnist, cifar bn cifar"),
        (MODE, training, "digits dropout, mnist bn half, cifar bn cifar"),
        (MODE, functional, "colours mlp half"),
        (SHIFTED, shifted, "digits cnn, cifar cnn"),
        (PERMUTED, permuted, "digits mlp half, mnist cnn, cifar bn cifar"),
        (HEAD, headed, "digits mlp, cifar cnn"),
    ]
    number = 0
    for kind, maker, places in makers:
        for place in places.split(", "):
            number += 1
            dataset, architecture, *normed = place.split()
            norm = normed[0] if normed else ""
            yield SetUp(
                name=f"{maker.__name__} {place}",
                kind=kind,
                dataset=dataset,
                make=functools.partial(maker, dataset, architecture, norm, number % 2),
                half="tuning" if number % 2 else "held-out",
            )
    for dataset, radius, norm in (("digits", 1.0, "linf"), ("cifar", 8.0, "linf"), ("mnist", 16.0, "l2")):
        number += 1
        yield SetUp(
            name=f"radius {norm} {radius:g} {dataset}",
            kind=RADIUS,
            dataset=dataset,
            make=functools.partial(as_is, dataset, "cnn", "", 0),
            half="tuning" if number % 2 else "held-out",
            epsilon=radius,
            norm=norm,
        )


def correct() -> Iterator[SetUp]:
    """100 correct set-ups, good models and weak ones, down to untrained ones."""
    plans = [
        (dataset, kind, norm, epochs, defense, radius)
        for dataset in ("digits", "colours", "mnist", "cifar")
        for kind, norm, epochs, defense, radius in (
            *(
                (kind, norm, 8, "natural", 0.0)
                for kind, norm in (("cnn", ""), ("mlp", "half"), ("bn", "own"), ("dropout", ""))
            ),
            *((kind, "", epochs, "natural", 0.0) for kind in ("mlp", "cnn", "linear") for epochs in (0, 1, 2)),
            *(("mlp", "", 8, "at", radius) for radius in (0.1, 0.2, 0.3)),
            ("linear", "", 8, "at", 0.2),
            ("cnn", "", 2, "at", 0.1),
            ("bn", "", 1, "natural", 0.0),
            ("mlp", "own", 1, "natural", 0.0),
            ("cnn", "half", 1, "natural", 0.0),
            ("mlp", "", 4, "trades", 0.2),
            ("mlp", "", 4, "gr", 0.1),
            ("cnn", "", 4, "trades", 0.1),
            ("linear", "half", 4, "natural", 0.0),
        )
    ]
    for number, (dataset, kind, norm, epochs, defense, radius) in enumerate(plans):
        own = dataset if norm == "own" else norm
        yield SetUp(
            name=f"{dataset} {kind} {own or '-'} {epochs} {defense} {radius:g}",
            kind="",
            dataset=dataset,
            make=lambda d=dataset, k=kind, n=own, s=number, e=epochs, f=defense, r=radius: trained(d, k, n, s, e, f, r)[
                0
            ],
            half="tuning" if number % 2 else "held-out",
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line for each set-up, and how many were recognised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only digits")
    parser.add_argument("--half", choices=("tuning", "held-out"), help="default both")
    parser.add_argument("names", nargs="*", metavar="NAME", help="beginnings of names; default all")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    setups = [one for one in (*mistakes(), *correct()) if chosen.half in (None, one.half)]
    setups = [one for one in setups if not chosen.quick or one.dataset in ("digits", "colours")]
    setups = [one for one in setups if not chosen.names or one.name.startswith(tuple(chosen.names))]
    results = []
    for setup in setups:
        found = examine(setup)
        right = setup.kind in found.kinds if setup.kind else not found.kinds
        results.append((bool(setup.kind), right, found.seconds))
        mark = "ok   " if right else "WRONG"
        print(
            f"{mark} {setup.name:38} {100 * found.accuracy:6.1f} {found.seconds:5.1f} s  {found.said[:150]}", flush=True
        )
    for mistaken, what in ((True, "mistakes found"), (False, "correct set-ups not suspected")):
        some = [right for kind, right, _ in results if kind == mistaken]
        print(f"{sum(some)} of {len(some)} {what}")
    print(f"at most {max((seconds for *_, seconds in results), default=0.0):.1f} s of processor time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
