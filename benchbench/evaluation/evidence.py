"""What metrics may ask about the model under test; each answer is computed once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchbench.contract import Examples, KeyedGenerator, SplitName
from benchbench.evaluation.attacking import AttackResult, Spool, attack_shard
from benchbench.evaluation.memory import Memory, ShardResult, by_shard
from benchbench.evaluation.subject import Trial
from benchbench.evaluation.supervision import QueryCount


class ModelEvidence:
    """`benchbench.contract.Evidence` on a trial of a frozen model; memory keeps answers."""

    def __init__(self, trial: Trial, memory: Memory) -> None:
        self.trial = trial
        self.model, self.threat = trial.model, trial.threat
        self._memory = memory
        self._excerpt: Tensor | None = None  # positions of the test examples that metrics see; None for all
        self._attacked: dict[SplitName, AttackResult] = {}

    def examples(self, split: SplitName) -> Examples:
        """The evaluated examples of a split, on the device."""
        examples = self.trial.splits[split].examples
        return Examples(inputs=self._seen(examples.inputs, split), labels=self._seen(examples.labels, split))

    def labels(self, split: SplitName) -> Tensor:
        """int64 (N,) on the CPU: the true labels."""
        return self.trial.splits[split].examples.labels.cpu()

    def prediction(self, split: SplitName) -> Tensor:
        """int64 (N,) on the CPU: the predicted class of each clean example."""
        known = self._memory.recall(f"clean/{split}", lambda: {"prediction": self._predict(split)})["prediction"]
        self.trial.loan.add(f"predictions on {split}", known)
        return known

    def correct(self, split: SplitName) -> Tensor:
        """bool (N,) on the CPU: predicted correctly without perturbation."""
        return self._seen(self.prediction(split) == self.labels(split), split)

    def attacked(self, split: SplitName) -> AttackResult:
        """What the protocol's attack did to a split."""
        self._memory.mark_attacked()
        if split in self._attacked:
            return self._attacked[split]
        trial, chosen, prediction = self.trial, self.trial.splits[split], self.prediction(split)
        positions, parts = trial.shards(chosen), []
        shards = by_shard(f"attack/{split}", positions, partial(attack_shard, trial, chosen, prediction, self._memory))
        with Spool((len(chosen) if split == "test" else 0, *chosen.examples.inputs.shape[1:])) as kept:
            for part, shard in zip(self._memory.gather(shards), positions):
                kept.add(part["candidates"])
                parts.append((part["prediction"], part["queries"]))
                trial.report(trial.attack_name, chosen, int(shard[-1]) + 1)
            candidates = kept.joined()
        trial.loan.inspect(f"attack {trial.attack_name!r} on {split}")
        predictions, counts = zip(*parts)
        forward, gradient = torch.stack(counts).sum(dim=0).tolist()
        attacked = AttackResult(
            prediction=torch.cat(predictions),
            candidates=candidates,
            queries=QueryCount(forward=int(forward), gradient=int(gradient)),
        )
        trial.loan.add(f"predictions under the attack on {split}", attacked.prediction)
        trial.loan.add(f"candidates of the attack on {split}", candidates, digested=False)
        self._attacked[split] = attacked
        return attacked

    def robust(self, split: SplitName) -> Tensor:
        """bool (N,) on the CPU: correct without perturbation and on the attack's checked candidate."""
        return self.correct(split) & self._seen(self.attacked(split).prediction == self.labels(split), split)

    def excerpt(self, positions: Tensor) -> ModelEvidence:
        """Evidence about some test examples: int64, consecutive positions that begin with a batch.

        It has all training examples, and shares its answers with this evidence.
        """
        excerpt = ModelEvidence(self.trial, self._memory)
        excerpt._attacked, excerpt._excerpt = self._attacked, positions
        return excerpt

    def batches(self, split: SplitName, purpose: str) -> Iterator[tuple[Tensor, Tensor, KeyedGenerator]]:
        """Yield images and labels on the device, and draws by seed, purpose, split, example."""
        chosen = self.trial.splits[split]
        everything = torch.arange(len(chosen), device=chosen.rows.device)
        for positions in torch.split(self._seen(everything, split), self.trial.batch_size):
            generator = self.trial.generator(chosen, purpose, positions)
            yield chosen.images(positions), chosen.labels(positions), generator
            self.trial.report(purpose, chosen, int(positions[-1]) + 1)

    def _seen(self, tensor: Tensor, split: SplitName) -> Tensor:
        """The part of a tensor over a split that metrics see."""
        if self._excerpt is None or split == "train":
            return tensor
        return tensor[self._excerpt.to(tensor.device)]

    def _predict(self, split: SplitName) -> Tensor:
        shards = self.trial.shards(self.trial.splits[split])
        parts = by_shard(f"clean/{split}", shards, partial(self._predict_shard, split))
        return torch.cat([part["prediction"] for part in self._memory.gather(parts)])

    def _predict_shard(self, split: SplitName, shard: Tensor) -> ShardResult:
        chosen, predictions = self.trial.splits[split], []
        for positions in torch.split(shard, self.trial.batch_size):
            what = f"the model on clean {split} examples"
            predictions.append(self.trial.classify(chosen.images(positions), chosen.rows[positions], what))
            self.trial.report("accuracy", chosen, int(positions[-1]) + 1)
        return {"prediction": torch.cat(predictions)}
