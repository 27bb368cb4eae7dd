"""Empirical local Lipschitzness against the original's style and the limit.

    python -m benchmarks.lipschitz --data ../shared/data

CNN2 on MNIST, batches of 64, ten steps of ascent. Costs are multiples of ten forward and input-gradient passes, float32,
contiguous layout. The limit beside it also has the two necessary forward passes, for f(x) and the last iterate. Before times
are taken, both estimates from the same starts must agree, image by image, and the mean of the fast mode (bf16) must be within
1% of float32's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from benchbench.builtin.metrics.lipschitz import LocalLipschitzness
from benchbench.contract import Evidence, Examples, KeyedGenerator, Threat, uniform_start
from benchbench.evaluation.subject import borrowed
from benchbench.kernels.arithmetic import Precision, precision_of_searches
from benchmarks.contest import Contender, compete, show, versions
from benchmarks.limit import forwards, input_gradients
from benchmarks.peers import original_lipschitz
from benchmarks.subjects import BATCH, THREAT, Method, Subject, arguments, mnist, own_copy, subject

GOALS = {"benchbench": 0.90, "benchbench, bf16": 0.40}
METHODS: tuple[Method, ...] = ("natural", "robust")
EQUAL_MEAN, EQUAL_FAST_MEAN = 0.002, 0.01
EQUAL_RATIO, EQUAL_SHARE = 0.01, 0.9  # in another memory layout, rounding may change single steps of single images


@dataclass(frozen=True, kw_only=True)
class Around:
    """Evidence about some images, in batches like the evaluation's."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    threat: Threat = THREAT

    def examples(self, split: Literal["train", "test"]) -> Examples:
        """All images."""
        return Examples(inputs=self.images, labels=self.labels)

    def correct(self, split: Literal["train", "test"]) -> Tensor:
        """Every image is."""
        return torch.ones(len(self.images), dtype=torch.bool)

    robust = correct

    def batches(self, split: Literal["train", "test"], purpose: str) -> Iterator[tuple[Tensor, Tensor, KeyedGenerator]]:
        """Images in the layout of the evaluation, with keyed draws."""
        for rows in torch.arange(len(self.images), device=self.images.device).split(BATCH):
            images = self.images[rows].to(memory_format=torch.channels_last)
            yield images, self.labels[rows], KeyedGenerator(0, rows)


def main() -> None:
    """Check, time and print."""
    options = arguments(__doc__)
    splits = mnist(options.data)
    print(versions())
    for method in METHODS:
        chosen = subject(method, splits, options.examples)
        print(check(chosen))
        ratios = compete(contenders(chosen), reference="10 passes", rounds=options.rounds)
        show(f"Lipschitzness, {len(chosen.images)} images, {method} model, multiples of 10 passes", ratios, GOALS)


def estimate(model: nn.Module, images: Tensor, labels: Tensor, precision: Precision = "float32") -> Tensor:
    """Ratios at the last iterate, by benchbench, float64 (N,)."""
    with borrowed(model), precision_of_searches(precision):
        evidence: Evidence = Around(model=model, images=images, labels=labels)
        return torch.as_tensor(LocalLipschitzness().measure(evidence).per_example["lipschitz"])


def starts(images: Tensor) -> Tensor:
    """The starts that benchbench draws."""
    return uniform_start(images, threat=THREAT, generator=KeyedGenerator(0, torch.arange(len(images))))


def check(chosen: Subject) -> str:
    """Compare the estimates.

    Raises:
        SystemExit: they differ.
    """
    ours = estimate(own_copy(chosen.model), chosen.images, chosen.labels)
    fast = estimate(own_copy(chosen.model), chosen.images, chosen.labels, "bf16")
    theirs = torch.from_numpy(original_lipschitz(own_copy(chosen.model), chosen.images, starts(chosen.images)))
    apart = float((theirs.mean() / ours.mean() - 1).abs())
    fast_apart = float((fast.mean() / ours.mean() - 1).abs())
    near = float(((theirs / ours - 1).abs() < EQUAL_RATIO).float().mean())
    report = f"mean {float(ours.mean()):.3f}, apart by {apart:.2g} of it; {near:.3f} of images within {EQUAL_RATIO:.0%}"
    report += f"; bf16's mean apart by {fast_apart:.2g}"
    if apart > EQUAL_MEAN or near < EQUAL_SHARE or fast_apart > EQUAL_FAST_MEAN:
        raise SystemExit(f"Lipschitzness: {report}: no times")
    return f"Lipschitzness from the same starts: {report}"


def contenders(chosen: Subject) -> dict[str, Contender]:
    """Each with its own copy of the model."""
    images, labels, begin = chosen.images, chosen.labels, starts(chosen.images)
    bare, own, fast, other = (own_copy(chosen.model) for _ in range(4))

    def limit() -> None:
        input_gradients(bare, images, labels, passes=10)
        forwards(bare, images, passes=2)

    return {
        "10 passes": Contender(work=lambda: input_gradients(bare, images, labels, passes=10)),
        "limit: and 2 forward": Contender(work=limit),
        "benchbench": Contender(work=lambda: estimate(own, images, labels)),
        "benchbench, bf16": Contender(work=lambda: estimate(fast, images, labels, "bf16")),
        "original style": Contender(work=lambda: original_lipschitz(other, images, begin)),
    }


if __name__ == "__main__":
    main()
