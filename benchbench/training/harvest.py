"""The weights that a training yields: last or averaged, after the last or best epoch.

EMA is updated after each step, with a decay that grows to the recipe's: min(decay, (1 + t) / (10 + t)) after t earlier steps
(Gowal et al., "Uncovering the Limits of Adversarial Training", 2020), so that the first weights are soon forgotten. It
averages the statistics of batch normalisation like weights. SWA is the mean of the weights after each epoch from `swa_start`
on (Izmailov et al., "Averaging Weights Leads to Wider Optima", 2018); for it the statistics are computed anew over the
training examples, because the mean of statistics is not those of the mean weights. Integers (counters) are not averaged.

Scores, without perturbation and under PGD-10 in the training's threat, never touch test examples. Their draws are the same
after every epoch; of equal scores the earliest wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from benchbench.contract import (
    Examples,
    KeyedGenerator,
    Progress,
    adversarial_images,
    as_model_input,
    derive_seed,
    frozen,
    in_mode,
)
from benchbench.ranks.group import Company
from benchbench.training.checkpoint import EpochRecord, Scores
from benchbench.training.job import TrainingJob
from benchbench.training.stepping import Steps


class Harvest:
    """Averages and selects the weights of a training; its state is part of the checkpoint."""

    def __init__(self, job: TrainingJob, company: Company, steps: Steps) -> None:
        self._job, self._company, self._steps = job, company, steps
        self._recipe, self._best = job.recipe, dict[str, Tensor]()
        self._average = self._weights() if self._recipe.weight_averaging == "ema" else {}

    def state_dict(self) -> dict[str, Tensor]:
        """The running average and the best weights so far, by name; empty without any."""
        parts = {"average": self._average, "best": self._best}
        return {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a `state_dict`."""
        for name, value in state.items():
            part, _, own = name.partition(".")
            (self._average if part == "average" else self._best)[own] = value.to(self._job.device)

    def after_step(self, progress: Progress) -> None:
        """Take the weights after a step into the average."""
        if self._recipe.weight_averaging == "ema":
            self._move_average(1.0 - min(self._recipe.ema_decay, (1 + progress.taken) / (10 + progress.taken)))

    def after_epoch(self, epoch: int, history: tuple[EpochRecord, ...]) -> Scores:
        """Take the weights after an epoch, counted from 0, into average and selection."""
        averaged = epoch - self._recipe.swa_start
        if self._recipe.weight_averaging == "swa" and averaged >= 0:
            self._average = self._average or self._weights()
            self._move_average(1.0 / (averaged + 1))
        if self._job.validation is None:
            return Scores()
        first = self._recipe.swa_start  # before, SWA has no average
        with self._harvested():
            scores = self._scores(self._job.validation)
            score = scores.selected(self._recipe.checkpoint_selection)
            earlier = [record.scores.selected(self._recipe.checkpoint_selection) for record in history[first:]]
            if score is not None and epoch >= first and all(score > one for one in earlier if one is not None):
                self._best = _copied(self._job.model.state_dict())
        return scores

    def bring_in(self) -> None:
        """Load the selected or averaged weights into the model, at the end of the training."""
        if self._best:
            self._job.model.load_state_dict(self._best)
        elif self._average:
            self._load_average()
        self._average, self._best = {}, {}

    def _weights(self) -> dict[str, Tensor]:
        return _copied({k: v for k, v in self._job.model.state_dict().items() if v.is_floating_point()})

    def _move_average(self, share: float) -> None:
        state = self._job.model.state_dict()
        torch._foreach_lerp_(list(self._average.values()), [state[name] for name in self._average], share)

    @contextmanager
    def _harvested(self) -> Iterator[None]:
        """Within the block the model has the averaged weights, if averaging has begun."""
        if not self._average:
            yield
            return
        kept = _copied(self._job.model.state_dict())
        self._load_average()
        yield
        self._job.model.load_state_dict(kept)

    def _load_average(self) -> None:
        self._job.model.load_state_dict(self._average, strict=False)  # counters stay
        if self._recipe.weight_averaging == "swa":
            self._steps.set_statistics()

    def _scores(self, split: Examples) -> Scores:
        """Accuracies on the validation split, whose batches the ranks share."""
        job = self._job
        right = torch.zeros(2, dtype=torch.float64, device=job.device)
        batches = torch.split(torch.arange(len(split)), self._steps.part_size or job.recipe.batch_size)
        with in_mode(job.model, training=False), frozen(job.model):
            for chosen in batches[self._company.rank :: self._company.count]:
                images, labels = (
                    as_model_input(split.inputs[chosen].to(job.device)),
                    split.labels[chosen].to(job.device),
                )
                correct = self._correct(images, labels)
                right[0] += correct.sum()
                if job.scores_robust:
                    rows = job.validation_rows[chosen].to(job.device)
                    right[1] += (correct & self._correct(self._candidates(images, labels, rows), labels)).sum()
        shares = (self._company.total(right) / len(split)).tolist()
        return Scores(clean=shares[0], robust=shares[1] if job.scores_robust else None)

    @torch.no_grad()
    def _correct(self, images: Tensor, labels: Tensor) -> Tensor:
        correct: Tensor = self._job.model(images).argmax(1) == labels
        return correct

    def _candidates(self, images: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        generator = KeyedGenerator(derive_seed(self._job.seed, "validation"), rows)
        model, threat = self._job.model, self._job.threat
        return adversarial_images(model, images, labels, threat=threat, generator=generator, steps=10, step_ratio=0.2)


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}
