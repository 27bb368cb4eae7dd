"""Compare bfloat16 with float32 training: accuracy, robust accuracy, Lipschitzness.

    python -m benchmarks.learning --data ../shared/data --threads 1

CNN2 on 6,000 MNIST images (``--train``) for three epochs, by natural training, AT and TRADES (``--methods``), with one seed
per round (``--rounds``); evaluated in float32 on the first test images by PGD-10 with independent draws.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from benchbench.builtin.attacks.pgd import Pgd
from benchbench.builtin.defenses.adversarial import AdversarialTraining
from benchbench.builtin.defenses.natural import Natural
from benchbench.builtin.defenses.trades import Trades
from benchbench.contract import DatasetSplits, Defense
from benchbench.kernels.arithmetic import Precision
from benchbench.training import TrainedModel, train
from benchmarks.attacks import perturbed, verdicts
from benchmarks.contest import versions
from benchmarks.lipschitz import estimate
from benchmarks.subjects import RECIPE, TRAINED_ON, argument_parser, mnist, parse, training_job

DEFENSES: dict[str, Defense] = {"natural": Natural(), "AT": AdversarialTraining(), "TRADES": Trades(beta=6.0)}
PRECISIONS: tuple[Precision, ...] = ("float32", "bf16")


def main() -> None:
    """Train, judge and print."""
    parser = argument_parser(__doc__)
    parser.set_defaults(examples=1024, rounds=2)
    parser.add_argument("--train", type=int, default=TRAINED_ON, help="training images")
    parser.add_argument("--methods", nargs="+", choices=tuple(DEFENSES), default=tuple(DEFENSES))
    options = parse(parser)
    splits = mnist(options.data)
    print(versions())
    print(
        f"{options.train:,} training images, {RECIPE.epochs} epochs; {options.examples} test images, all judged in float32"
    )
    for name in options.methods:
        for seed in range(options.rounds):
            for precision in PRECISIONS:
                trained = learn(splits, DEFENSES[name], precision, seed, options.train)
                judged = judge(trained.model, splits, options.examples)
                print(
                    f"  {name:<8} seed {seed}  {precision:<8} {judged}, last epoch's loss {trained.history[-1].loss:.4f}",
                    flush=True,
                )


def learn(splits: DatasetSplits, defense: Defense, precision: Precision, seed: int, count: int) -> TrainedModel:
    """A model trained on the first images."""
    recipe = dataclasses.replace(RECIPE, precision=precision)
    return train(training_job(splits, defense, count=count, recipe=recipe, seed=seed))


def judge(model: nn.Module, splits: DatasetSplits, count: int) -> str:
    """Accuracies and the mean Lipschitz estimate on test images."""
    images, labels = splits.test.inputs[:count].float() / 255.0, splits.test.labels[:count]
    right = 1.0 - float(verdicts(model, images, labels).float().mean())
    robust = 1.0 - float(verdicts(model, perturbed(Pgd(), model, images, labels), labels).float().mean())
    lipschitz = float(estimate(model, images[:256], labels[:256]).mean())
    return f"accuracy {right:.4f}, under PGD-10 {robust:.4f}, Lipschitzness {lipschitz:.2f}"


if __name__ == "__main__":
    main()
