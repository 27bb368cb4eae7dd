"""What metrics ask about the model under test, each answer computed once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from benchbench.contract import Examples, KeyedGenerator, SplitName, Threat
from benchbench.evaluation.attacking import AttackResult, attack_split
from benchbench.evaluation.lending import Loan
from benchbench.evaluation.memory import Memory
from benchbench.evaluation.shards import Shard, ShardResult, shard_positions
from benchbench.evaluation.subject import Trial


class ModelEvidence:
    """Implements `benchbench.contract.Evidence` for one trial.

    Args:
        trial: what is tried; its model must be in evaluation mode with frozen parameters.
        memory: keeps the answers.
    """

    def __init__(self, trial: Trial, memory: Memory) -> None:
        self._trial = trial
        self._memory = memory
        self._attacked: dict[SplitName, AttackResult] = {}

    @property
    def model(self) -> nn.Module:
        """The model, in evaluation mode, with frozen parameters."""
        return self._trial.model

    @property
    def loan(self) -> Loan:
        """What plugins are lent."""
        return self._trial.loan

    @property
    def threat(self) -> Threat:
        """Ball and box of the protocol."""
        return self._trial.threat

    def examples(self, split: SplitName) -> Examples:
        """The examples of a split that are evaluated, on the device."""
        return self._trial.splits[split].examples

    def labels(self, split: SplitName) -> Tensor:
        """int64 (N,) on the CPU: the true labels."""
        return self.examples(split).labels.cpu()

    def prediction(self, split: SplitName) -> Tensor:
        """int64 (N,) on the CPU: the predicted class of each clean example."""
        known = self._memory.recall(f"clean/{split}", lambda: {"prediction": self._predict(split)})["prediction"]
        self._trial.loan.add(f"predictions on {split}", known)
        return known

    def correct(self, split: SplitName) -> Tensor:
        """bool (N,) on the CPU: predicted correctly without perturbation."""
        return self.prediction(split) == self.labels(split)

    def attacked(self, split: SplitName) -> AttackResult:
        """What the protocol's attack did to a split."""
        self._memory.ask_for_attack()
        if split not in self._attacked:
            chosen, prediction = self._trial.splits[split], self.prediction(split)
            attacked = self._attacked[split] = attack_split(self._trial, chosen, prediction, self._memory)
            self._trial.loan.add(f"predictions under the attack on {split}", attacked.prediction)
            self._trial.loan.add(f"candidates of the attack on {split}", attacked.candidates, digested=False)
        return self._attacked[split]

    def robust(self, split: SplitName) -> Tensor:
        """bool (N,) on the CPU: predicted correctly without perturbation and on the attack's re-checked candidate."""
        return self.correct(split) & (self.attacked(split).prediction == self.labels(split))

    def shards(self) -> list[Tensor]:
        """Positions within the test split of the examples of each shard."""
        return shard_positions(self._trial.splits["test"], self._trial.batch_size)

    def batches(
        self, split: SplitName, purpose: str, within: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor, KeyedGenerator]]:
        """Batches of (float32 images, int64 labels, generator keyed by seed, purpose, split and example) on the device.

        Args:
            split: which examples.
            purpose: part of the key of the draws.
            within: int64, consecutive positions that begin with a batch: only theirs; None for all.
        """
        chosen = self._trial.splits[split]
        size = self._trial.batch_size
        for positions in chosen.batches(size) if within is None else torch.split(within, size):
            generator = self._trial.generator(chosen, purpose, positions)
            yield chosen.images(positions), chosen.labels(positions), generator
            self._trial.report(purpose, chosen, int(positions[-1]) + 1)

    def generator(self, split: SplitName, purpose: str, positions: Tensor) -> KeyedGenerator:
        """The draws of some examples of a split, keyed by seed, purpose, split and example.

        Args:
            positions: int64, places within the split.
        """
        chosen = self._trial.splits[split]
        return self._trial.generator(chosen, purpose, positions.to(chosen.rows.device))

    def images(self, split: SplitName, positions: Tensor) -> Tensor:
        """Model inputs of some examples of a split, float32, on the device.

        Args:
            positions: int64, places within the split.
        """
        chosen = self._trial.splits[split]
        return chosen.images(positions.to(chosen.rows.device))

    def _predict(self, split: SplitName) -> Tensor:
        chosen = self._trial.splits[split]
        shards = [
            Shard(key=f"clean/{split}/{int(positions[0]):08d}", compute=partial(self._predict_shard, split, positions))
            for positions in shard_positions(chosen, self._trial.batch_size)
        ]
        return torch.cat([part["prediction"] for part in self._memory.gather(shards)])

    def _predict_shard(self, split: SplitName, shard: Tensor) -> ShardResult:
        chosen, predictions = self._trial.splits[split], []
        for positions in torch.split(shard, self._trial.batch_size):
            what = f"the model on clean {split} examples"
            predictions.append(self._trial.classify(chosen.images(positions), chosen.rows[positions], what))
            self._trial.report("accuracy", chosen, int(positions[-1]) + 1)
        return {"prediction": torch.cat(predictions)}
