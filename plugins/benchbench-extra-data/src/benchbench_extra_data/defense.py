"""Adversarial training on batches with a fixed share of extra data (Carmon et al., 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.contract import (
    BatchLoss,
    Dataset,
    KeyedGenerator,
    Progress,
    Threat,
    TrainingHost,
    adversarial_images,
    require,
)


class ExtraDataTraining:
    """Minimise sum L(f(x'), y) over a batch of the experiment's examples and of extra ones.

    x' is found by PGD from a uniform start, which sees the model in training mode. Extra examples come without replacement, in
    an order that begins anew when all have been seen. Batches are larger than the recipe's by 1 / (1 - share).

    Args:
        extra: the dataset whose training examples are added; like the experiment's in shape and box, with no further classes.
        share: share of extra examples in each batch, in (0, 1); 0.7 in Rebuffi et al.
        steps: steps of the inner maximisation, at least 1.
        step_ratio: step size over epsilon, above 0.
    """

    def __init__(self, *, extra: Dataset, share: float = 0.7, steps: int = 10, step_ratio: float = 0.25) -> None:
        checks = {f"share must be in (0, 1), got {share}": 0 < share < 1, "step_ratio must be above 0": step_ratio > 0}
        require(checks | {f"steps must be at least 1, got {steps}": steps >= 1})
        self.extra, self.share, self.steps, self.step_ratio = extra, share, steps, step_ratio
        self._first = 0

    def prepare(self, host: TrainingHost) -> None:
        """Receive the extra examples."""
        self._examples = host.extra_examples("extra")
        self._whole = self.beside(host.recipe.batch_size)

    def beside(self, count: int) -> int:
        """How many extra examples stand beside this many others: share / (1 - share) times as many."""
        return max(1, round(count * self.share / (1.0 - self.share)))

    def at_step(self, progress: Progress) -> None:
        """Find the step's place in the stream; a smaller batch skips the examples that are left."""
        self._first = progress.taken * self._whole

    def step(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        threat: Threat,
        generator: KeyedGenerator,
        optimizer: torch.optim.Optimizer,
    ) -> BatchLoss:
        """One step on the joined batch; see `benchbench.contract.SteppingDefense`."""
        extra = self._examples.take(self._first, self.beside(len(images)))
        images, labels = torch.cat([images, extra.images]), torch.cat([labels, extra.labels])
        candidates = adversarial_images(
            model,
            images,
            labels,
            threat=threat,
            generator=generator.joined(extra.rows),
            steps=self.steps,
            step_ratio=self.step_ratio,
        )
        loss = F.cross_entropy(model(candidates), labels, reduction="sum")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return BatchLoss(loss=loss.detach())
