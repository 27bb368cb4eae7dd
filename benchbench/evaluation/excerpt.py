"""The evidence about some of the test examples, for metrics that look at each of them by itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from benchbench.contract import Examples, KeyedGenerator, SplitName, Threat
from benchbench.evaluation.evidence import ModelEvidence


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """Implements `benchbench.contract.Evidence` for consecutive test examples; of the training split it shows all.

    Attributes:
        whole: the evidence about all.
        positions: int64, places within the test split; they begin with a batch.
    """

    whole: ModelEvidence
    positions: Tensor

    @property
    def model(self) -> nn.Module:
        """The model, in evaluation mode, with frozen parameters."""
        return self.whole.model

    @property
    def threat(self) -> Threat:
        """Ball and box of the protocol."""
        return self.whole.threat

    def examples(self, split: SplitName) -> Examples:
        """The examples of a split that are evaluated, on the device."""
        examples = self.whole.examples(split)
        if split == "train":
            return examples
        return Examples(inputs=examples.inputs[self.positions], labels=examples.labels[self.positions])

    def correct(self, split: SplitName) -> Tensor:
        """bool (n,) on the CPU: predicted correctly without perturbation."""
        return self._chosen(self.whole.correct(split), split)

    def robust(self, split: SplitName) -> Tensor:
        """bool (n,) on the CPU: correct without perturbation and under the protocol's attack."""
        return self._chosen(self.whole.robust(split), split)

    def batches(self, split: SplitName, purpose: str) -> Iterable[tuple[Tensor, Tensor, KeyedGenerator]]:
        """The batches that hold these examples when all are asked for."""
        return self.whole.batches(split, purpose, self.positions if split == "test" else None)

    def _chosen(self, outcomes: Tensor, split: SplitName) -> Tensor:
        return outcomes if split == "train" else outcomes[self.positions.cpu()]
