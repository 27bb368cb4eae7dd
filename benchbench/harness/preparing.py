"""What a defense may do before it trains or fits: the host of `PreparedDefense.prepare`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from benchbench.cell.model import Cell, digest
from benchbench.contract import (
    ExtraExamples,
    KeyedGenerator,
    OptionError,
    PreparedDefense,
    Recipe,
    TrainingHost,
    derive_seed,
)
from benchbench.contract.training import LoopDefense
from benchbench.data import crop_to
from benchbench.events import Note
from benchbench.harness.networks import build_model
from benchbench.harness.succession import succeed, training_checkpoint
from benchbench.harness.workbench import Workbench
from benchbench.training import Checkpoint, TrainingJob, train
from benchbench.training.checkpoint import Position, read_checkpoint, weights_digest, write_checkpoint
from benchbench.training.stepping import augment


def prepare(defense: object, cell: Cell, job: TrainingJob, bench: Workbench) -> None:
    """Let a `PreparedDefense` prepare a cell's training; `job` holds its model and examples."""
    if isinstance(defense, PreparedDefense):
        host: TrainingHost = _Host(cell=cell, job=job, bench=bench)
        defense.prepare(host)


@dataclass(frozen=True, kw_only=True)
class _Host:
    """The host of a cell's defense; see `TrainingHost`."""

    cell: Cell
    job: TrainingJob
    bench: Workbench

    @property
    def recipe(self) -> Recipe:
        return self.job.recipe

    @property
    def model(self) -> nn.Module:
        return self.job.model

    @property
    def seconds_left(self) -> float:
        return self.bench.stop.seconds_left

    def check(self) -> None:
        self.bench.stop.check()

    def extra_examples(self, option: str) -> ExtraExamples:
        datasets = self.cell.training.defense.extra_datasets
        if option not in datasets:
            raise OptionError(f"defense {self.cell.training.defense.name!r}: option {option!r} is no dataset")
        splits, augmentation = self.bench.splits(datasets[option]), self.recipe.augmentation
        examples = splits.train if augmentation.crop else crop_to(splits.train, splits.input_shape)

        def augmented(images: Tensor, generator: KeyedGenerator) -> Tensor:
            return augment(images, augmentation, generator.child("augmentation"))

        seed = derive_seed(self.job.seed, "option", option)
        return ExtraExamples(examples, seed=seed, device=self.job.device, augment=augmented)

    def train(self, phase: str, defense: LoopDefense, recipe: Recipe) -> nn.Module:
        seed = derive_seed(self.job.seed, "phase", phase)
        spec = dataclasses.replace(self.cell.training, seed=seed)
        splits = self.bench.splits(spec.dataset)
        fresh = build_model(dataclasses.replace(self.cell, training=spec), splits, self.bench.registry)
        validation = self.job.validation if recipe.checkpoint_selection != "last" else None
        job = dataclasses.replace(
            self.job, model=fresh, defense=defense, recipe=recipe, seed=seed, validation=validation
        )
        self.bench.listener(Note(message=f"  phase before training: {phase}"))
        phase_id = self._id_of("phase", phase, recipe)
        trained = train(job, checkpoint=self._checkpoint(phase_id), listener=self.bench.listener, stop=self.bench.stop)
        if self.bench.fresh:
            succeed(phase_id, weights_digest(trained.model.state_dict()), self.bench.store)
        return trained.model

    def _checkpoint(self, phase_id: str) -> Checkpoint:
        present = Checkpoint(self.bench.store.checkpoint_path(phase_id), phase_id)
        if self.bench.ranks is not None and not self.bench.ranks.leads:
            return present  # the leader has trained the phase before it ordered the training
        self.bench.earlier.setdefault(phase_id, present.time())
        return training_checkpoint(phase_id, self.bench)

    def save(self, state: Mapping[str, Tensor]) -> None:
        kept = {name: value.detach().cpu().clone() for name, value in state.items()}
        fit_id = self._id_of("fit")
        write_checkpoint(self.bench.store.checkpoint_path(fit_id), fit_id, kept, Position())

    def saved(self) -> Mapping[str, Tensor]:
        checkpoint = Checkpoint(self.bench.store.checkpoint_path(self._id_of("fit")), self._id_of("fit"))
        written = checkpoint.time()
        if written is None or (self.bench.fresh and written / 1e9 < self.bench.begun):
            return {}
        stored = read_checkpoint(checkpoint.path)
        return stored.tensors if stored is not None and stored.intact else {}

    def _id_of(self, *purpose: object) -> str:
        return digest({"model": self.cell.training.model_id, "purpose": list(purpose)})
