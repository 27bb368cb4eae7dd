"""The weights that a training yields: last or averaged, after the last or best epoch.

EMA is updated after each step, with a decay that grows to the recipe's: min(decay, (1 + t) / (10 + t)) after t earlier steps
(Gowal et al., "Uncovering the Limits of Adversarial Training", 2020), so that the first weights are soon forgotten. It
averages the statistics of batch normalisation like weights. SWA is the mean of the weights after each epoch from `swa_start`
on (Izmailov et al., "Averaging Weights Leads to Wider Optima", 2018); for it the statistics are computed anew over the
training examples, because the mean of statistics is not those of the mean weights. Integers (counters) are not averaged.

Scores of the validation split never touch test examples. Their draws are the same after every epoch; of equal scores the
earliest wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from benchbench.contract import (
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
from benchbench.training.job import HeldOut, TrainingJob

STEPS, STEP_RATIO = 10, 0.2  # of PGD on the validation split: the protocol's PGD-10
_AVERAGE, _BEST = "average.", "best."


class Harvest:
    """Averages and selects the weights of a training; its state is part of the checkpoint.

    `set_statistics` computes the statistics of batch normalisation anew for the weights in the model.
    """

    def __init__(self, job: TrainingJob, company: Company, set_statistics: Callable[[], None]) -> None:
        self._job, self._company, self._set_statistics = job, company, set_statistics
        self._recipe = job.recipe
        self._average = self._weights() if self._recipe.weight_averaging == "ema" else {}
        self._best: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Tensor]:
        """The running average and the best weights so far, by name; empty without any."""
        parts = {_AVERAGE: self._average, _BEST: self._best}
        return {f"{prefix}{name}": value for prefix, values in parts.items() for name, value in values.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a `state_dict`."""
        for prefix, values in ((_AVERAGE, self._average), (_BEST, self._best)):
            found = {name.removeprefix(prefix): one for name, one in state.items() if name.startswith(prefix)}
            values.update({name: one.to(self._job.device) for name, one in found.items()})

    def after_step(self, progress: Progress) -> None:
        """Take the weights after a step into the average."""
        if self._recipe.weight_averaging == "ema":
            decay = min(self._recipe.ema_decay, (1 + progress.taken) / (10 + progress.taken))
            self._move_average(1.0 - decay)

    def after_epoch(self, epoch: int, history: tuple[EpochRecord, ...]) -> Scores:
        """Take the weights after an epoch, counted from 0, into average and selection."""
        averaged = epoch - self._recipe.swa_start
        if self._recipe.weight_averaging == "swa" and averaged >= 0:
            self._average = self._average or self._weights()
            self._move_average(1.0 / (averaged + 1))
        if self._job.validation is None:
            return Scores()
        with self._harvested():
            scores = self._scores(self._job.validation)
            earlier = [record.scores.selected(self._recipe.checkpoint_selection) for record in history[self._first :]]
            score = scores.selected(self._recipe.checkpoint_selection)
            if score is not None and epoch >= self._first and all(score > one for one in earlier if one is not None):
                self._best = {name: value.detach().clone() for name, value in self._job.model.state_dict().items()}
        return scores

    def bring_in(self) -> None:
        """Load the selected or averaged weights into the model, at the end of the training."""
        if self._best:
            self._job.model.load_state_dict(self._best)
        elif self._average:
            self._load_average()
        self._average, self._best = {}, {}

    @property
    def _first(self) -> int:
        """The first epoch that may be selected: before `swa_start` there is no average."""
        return self._recipe.swa_start if self._recipe.weight_averaging == "swa" else 0

    def _weights(self) -> dict[str, Tensor]:
        state = self._job.model.state_dict()
        return {name: value.detach().clone() for name, value in state.items() if value.is_floating_point()}

    def _move_average(self, share: float) -> None:
        state = self._job.model.state_dict()
        names = list(self._average)
        torch._foreach_lerp_([self._average[name] for name in names], [state[name] for name in names], share)

    @contextmanager
    def _harvested(self) -> Iterator[None]:
        """Within the block the model has the averaged weights, if averaging has begun."""
        if not self._average:
            yield
            return
        kept = {name: value.detach().clone() for name, value in self._job.model.state_dict().items()}
        self._load_average()
        yield
        self._job.model.load_state_dict(kept)

    def _load_average(self) -> None:
        self._job.model.load_state_dict(self._average, strict=False)  # counters stay
        if self._recipe.weight_averaging == "swa":
            self._set_statistics()

    def _scores(self, split: HeldOut) -> Scores:
        """Accuracies on the validation split, whose batches the ranks share."""
        job = self._job
        right = torch.zeros(2, dtype=torch.float64, device=job.device)
        batches = torch.split(torch.arange(len(split.rows)), job.recipe.batch_size)
        with in_mode(job.model, training=False), frozen(job.model):
            for chosen in batches[self._company.rank :: self._company.count]:
                right += self._right(split.examples.inputs[chosen], split.examples.labels[chosen], split.rows[chosen])
        clean, robust = (self._company.total(right) / len(split.rows)).tolist()
        return Scores(clean=clean, robust=robust if self._robust else None)

    @property
    def _robust(self) -> bool:
        return self._recipe.checkpoint_selection == "best-robust"

    def _right(self, inputs: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """Number of examples that are right without perturbation, and of those also right under PGD."""
        job = self._job
        images, labels = as_model_input(inputs.to(job.device)), labels.to(job.device)
        with torch.no_grad():
            clean = job.model(images).argmax(1) == labels
        if not self._robust:
            return torch.stack([clean.sum(), clean.sum()])
        generator = KeyedGenerator(derive_seed(job.seed, "validation"), rows.to(job.device))
        candidates = adversarial_images(
            job.model, images, labels, threat=job.threat, generator=generator, steps=STEPS, step_ratio=STEP_RATIO
        )
        with torch.no_grad():
            return torch.stack([clean.sum(), (clean & (job.model(candidates).argmax(1) == labels)).sum()])
