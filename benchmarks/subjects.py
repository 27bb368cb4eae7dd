"""Data and models of the benchmarks: MNIST, and CNN2 trained naturally and adversarially."""

from __future__ import annotations

import argparse
import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from benchbench.builtin.architectures.cnn import make_cnn2
from benchbench.builtin.datasets.mnist import Mnist
from benchbench.builtin.defenses.adversarial import AdversarialTraining
from benchbench.builtin.defenses.natural import Natural
from benchbench.contract import DatasetSplits, DataSource, Defense, Examples, Threat
from benchbench.contract.recipe import Recipe
from benchbench.settings import find_folders
from benchbench.training import Checkpoint, TrainingJob, train

THREAT = Threat(epsilon=0.1)
TRAINED_ON = 6000
RECIPE = Recipe(optimizer="adam", learning_rate=1e-3, batch_size=64, epochs=3)
BATCH = 64

Method = Literal["natural", "robust"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A trained model and test images.

    Attributes:
        model: in evaluation mode, contiguous layout, with parameters that take gradients, as the other libraries expect.
        images: float32 (N, 1, 28, 28).
        labels: int64 (N,), the classes that the model predicts: every image is worth attacking.
    """

    model: nn.Module
    images: Tensor
    labels: Tensor


def arguments(description: str | None) -> argparse.Namespace:
    """The command line of a benchmark without further options."""
    return parse(argument_parser(description))


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("BENCHBENCH_DATA", "../shared/data")))
    parser.add_argument("--examples", type=int, default=256, help="images that are worked on; a multiple of 64")
    parser.add_argument("--rounds", type=int, default=7, help="repeats of every contender")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="1 on a machine with other work")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line, and use as many threads as it says."""
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    return chosen


def mnist(root: Path) -> DatasetSplits:
    """MNIST from torchvision's layout."""
    return Mnist().load(DataSource(root=root, cache=find_folders().home / "datasets"))


def untrained() -> nn.Module:
    """CNN2 with fixed weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make_cnn2(input_shape=(1, 28, 28), classes=10)


def training_job(
    splits: DatasetSplits, defense: Defense, *, count: int = TRAINED_ON, recipe: Recipe = RECIPE, seed: int = 0
) -> TrainingJob:
    """Training of CNN2 on the first images."""
    return TrainingJob(
        model=untrained(),
        defense=defense,
        examples=Examples(inputs=splits.train.inputs[:count], labels=splits.train.labels[:count]),
        rows=torch.arange(count),
        threat=THREAT,
        recipe=recipe,
        seed=seed,
        device=torch.device("cpu"),
    )


def trained(method: Method, splits: DatasetSplits) -> nn.Module:
    """CNN2 after three epochs on 6,000 images, cached below the benchbench home."""
    job = training_job(splits, Natural() if method == "natural" else AdversarialTraining())
    path = find_folders().home / "benchmarks" / f"cnn2-{method}-{TRAINED_ON}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    model = train(job, checkpoint=Checkpoint(path, path.stem)).model
    return model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload,no-any-return]


def subject(method: Method, splits: DatasetSplits, count: int) -> Subject:
    """A model and the first test images that it classifies correctly."""
    model = trained(method, splits)
    images = splits.test.inputs[: 2 * count].float() / 255.0
    with torch.no_grad():
        predicted = torch.cat([model(part).argmax(1) for part in images.split(BATCH)])
    correct = (predicted == splits.test.labels[: 2 * count]).nonzero()[:count, 0]
    return Subject(model=model, images=images[correct], labels=predicted[correct])


def own_copy(model: nn.Module) -> nn.Module:
    """A copy that a contender may change."""
    return copy.deepcopy(model)
