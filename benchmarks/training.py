"""Adversarial training (AT) and TRADES against torchattacks, the original and the limit.

    python -m benchmarks.training --data ../shared/data

CNN2 on MNIST in batches of 64. All costs are multiples of AT's limit: for each batch ten input gradients, one gradient for
the weights, one update, float32, contiguous layout, images ready. Before times are taken, benchbench's AT must reach the
weights of a plain loop with the same draws. In bfloat16 no two trainings reach equal weights; ``benchmarks.learning``
compares what they learn.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.builtin.defenses.adversarial import AdversarialTraining
from benchbench.builtin.defenses.trades import Trades
from benchbench.contract import Defense, Examples, KeyedGenerator, derive_seed, uniform_start
from benchbench.contract.recipe import Recipe
from benchbench.kernels.arithmetic import Precision
from benchbench.training import TrainedModel, TrainingJob, train
from benchbench.training.loop import make_optimizer
from benchmarks.contest import Contender, compete, show, versions
from benchmarks.limit import adversarial_epoch
from benchmarks.peers import installed, original_ascent
from benchmarks.subjects import BATCH, THREAT, arguments, mnist, trained

RECIPE = Recipe(optimizer="sgd", learning_rate=1e-4, momentum=0.9, batch_size=BATCH, epochs=1)
GOALS = {"AT: benchbench": 0.88, "AT: bf16": 0.35, "TRADES: benchbench": 1.00, "TRADES: bf16": 0.53}
CPU = torch.device("cpu")
EQUAL_WEIGHTS, CHECKED = 1e-4, 2 * BATCH


def main() -> None:
    """Check, time and print."""
    options = arguments(__doc__)
    splits = mnist(options.data)
    model = trained("natural", splits)
    examples = Examples(inputs=splits.train.inputs[: options.examples], labels=splits.train.labels[: options.examples])
    print(versions())
    few = Examples(inputs=examples.inputs[:CHECKED], labels=examples.labels[:CHECKED])
    print(check(model, few))  # longer epochs in two layouts diverge: sums round differently, and signs change
    ratios = compete(contenders(model, examples), reference="AT: limit", rounds=options.rounds)
    show(f"One epoch of {len(examples)} images, multiples of AT's limit", ratios, GOALS)


def epoch(
    model: nn.Module,
    defense: Defense,
    examples: Examples,
    precision: Precision = "float32",
    device: torch.device = CPU,
) -> TrainedModel:
    """One epoch by benchbench, from a copy of the model."""
    rows = torch.arange(len(examples))
    return train(
        TrainingJob(
            model=copy.deepcopy(model),
            defense=defense,
            examples=examples,
            rows=rows,
            threat=THREAT,
            recipe=dataclasses.replace(RECIPE, precision=precision),
            seed=0,
            device=device,
        )
    )


def check(model: nn.Module, examples: Examples) -> str:
    """Compare the weights after an epoch of AT with those of a plain loop.

    Raises:
        SystemExit: they differ.
    """
    ours, plain = epoch(model, AdversarialTraining(), examples).model, plain_epoch(model, examples)
    pairs = zip(ours.parameters(), plain.parameters())
    apart = max(float((left - right).detach().abs().max()) for left, right in pairs)
    if apart > EQUAL_WEIGHTS:
        raise SystemExit(f"AT: weights differ by {apart:.2g} from the plain loop's: no times")
    return f"AT: after the epoch all weights equal the plain loop's within {apart:.1g}"


def plain_epoch(model: nn.Module, examples: Examples) -> nn.Module:
    """A plain loop of AT, contiguous, with benchbench's draws."""
    model = copy.deepcopy(model).train()
    optimizer = make_optimizer(model, RECIPE)
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(derive_seed(0, "order", 0)))
    with torch.random.fork_rng(devices=[]):
        for step, rows in enumerate(order.split(BATCH)):
            images, labels = examples.inputs[rows].float() / 255.0, examples.labels[rows]
            keyed = KeyedGenerator(derive_seed(0, "train", 0), rows).child("defense")
            torch.manual_seed(derive_seed(0, "dropout", 0, step))
            candidates = uniform_start(images, threat=THREAT, generator=keyed)
            for _ in range(10):
                candidates.requires_grad_(True)
                loss = F.cross_entropy(model(candidates), labels, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, candidates)
                candidates = THREAT.project(candidates.detach() + 0.2 * THREAT.epsilon * gradient.sign(), images)
            optimizer.zero_grad()
            F.cross_entropy(model(candidates), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model.eval()


def contenders(model: nn.Module, examples: Examples) -> dict[str, Contender]:
    """The contenders; each begins each epoch with a copy of the same model."""
    images, labels = examples.inputs.float() / 255.0, examples.labels

    def limit() -> None:
        own = copy.deepcopy(model)
        adversarial_epoch(own, images, labels, make_optimizer(own, RECIPE))

    found = {
        "AT: limit": Contender(work=limit),
        "AT: benchbench": Contender(work=lambda: epoch(model, AdversarialTraining(), examples)),
        "AT: bf16": Contender(work=lambda: epoch(model, AdversarialTraining(), examples, "bf16")),
        "AT: original style": Contender(work=lambda: original_epoch(model, images, labels, trades=False)),
        "TRADES: benchbench": Contender(work=lambda: epoch(model, Trades(beta=6.0), examples)),
        "TRADES: bf16": Contender(work=lambda: epoch(model, Trades(beta=6.0), examples, "bf16")),
        "TRADES: original style": Contender(work=lambda: original_epoch(model, images, labels, trades=True)),
    }
    if installed("torchattacks"):
        found["AT: torchattacks"] = Contender(work=lambda: torchattacks_epoch(model, images, labels))
    return found


def torchattacks_epoch(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """AT with torchattacks' PGD on the model in training mode."""
    import torchattacks

    model = copy.deepcopy(model).train()
    optimizer = make_optimizer(model, RECIPE)
    attack: Any = torchattacks.PGD(model, eps=THREAT.epsilon, alpha=THREAT.epsilon / 5, steps=10)
    attack.set_model_training_mode(model_training=True, dropout_training=True)
    for part, truth in zip(images.split(BATCH), labels.split(BATCH)):
        candidates = attack(part, truth)
        optimizer.zero_grad()
        F.cross_entropy(model(candidates), truth, reduction="sum").backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def original_epoch(model: nn.Module, images: Tensor, labels: Tensor, *, trades: bool) -> None:
    """AT or TRADES as released: AT's steps fill the weights' gradients, TRADES' repeat f(x)."""
    model = copy.deepcopy(model).train()
    optimizer = make_optimizer(model, RECIPE)
    for part, truth in zip(images.split(BATCH), labels.split(BATCH)):

        def objective(logits: Tensor, part: Tensor = part, truth: Tensor = truth) -> Tensor:
            return divergence(model, part, logits) if trades else F.cross_entropy(logits, truth, reduction="sum")

        model.train(not trades)
        start = part + 0.001 * torch.randn_like(part)
        moved = original_ascent(model, part, start, objective, steps=10, ratio=0.2, into_weights=not trades)
        candidates = torch.from_numpy(moved)
        model.train()
        optimizer.zero_grad()
        logits = model(candidates)
        if trades:
            loss = F.cross_entropy(model(part), truth, reduction="sum") + 6.0 * divergence(model, part, logits)
        else:
            loss = F.cross_entropy(logits, truth, reduction="sum")
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()


def divergence(model: nn.Module, images: Tensor, logits: Tensor) -> Tensor:
    """KL(softmax f(x) || softmax f(x')), f(x) computed anew."""
    return F.kl_div(F.log_softmax(logits, dim=1), F.softmax(model(images), dim=1), reduction="sum")


if __name__ == "__main__":
    main()
