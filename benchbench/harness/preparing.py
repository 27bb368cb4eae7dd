"""What a defense may do before it trains or fits: the host of `PreparedDefense.prepare`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from benchbench.cell.model import Cell, digest
from benchbench.contract import ExtraExamples, OptionError, PreparedDefense, Recipe, TrainingHost, derive_seed
from benchbench.contract.training import LoopDefense
from benchbench.data import crop_to
from benchbench.events import Note
from benchbench.harness.succession import succeed, training_checkpoint
from benchbench.harness.workbench import Workbench
from benchbench.training import Checkpoint, TrainingJob, train
from benchbench.training.checkpoint import Position, read_checkpoint, weights_digest, write_checkpoint
from benchbench.training.stepping import augment


def prepare(cell: Cell, job: TrainingJob, bench: Workbench, build: Callable[[Cell], nn.Module]) -> None:
    """Let a job's `PreparedDefense` prepare; `build` makes the fresh network of a cell."""
    if not isinstance(job.defense, PreparedDefense):
        return

    def train_phase(phase: str, defense: LoopDefense, recipe: Recipe) -> nn.Module:
        bench.listener(Note(message=f"  phase before training: {phase}"))
        seed = derive_seed(job.seed, "phase", phase)
        model = build(dataclasses.replace(cell, training=dataclasses.replace(cell.training, seed=seed)))
        changed = dataclasses.replace(job, model=model, defense=defense, recipe=recipe, seed=seed)
        return _train(changed, _id_of(cell, phase, recipe), bench)

    kept = Checkpoint(bench.store.checkpoint_path(_id_of(cell, "fit")), _id_of(cell, "fit"))
    host = TrainingHost(
        recipe=job.recipe,
        model=job.model,
        extra_examples=lambda option: _extra(option, cell, job, bench),
        train=train_phase,
        save=lambda state: write_checkpoint(kept.path, kept.model_id, _on_cpu(state), Position()),
        saved=lambda: _saved(kept, bench),
        check=bench.stop.check,
        seconds_left=lambda: bench.stop.seconds_left,
    )
    job.defense.prepare(host)


def _id_of(cell: Cell, *purpose: object) -> str:
    return digest({"model": cell.training.model_id, "purpose": purpose})


def _extra(option: str, cell: Cell, job: TrainingJob, bench: Workbench) -> ExtraExamples:
    datasets, augmentation = cell.training.defense.extra_datasets, job.recipe.augmentation
    if option not in datasets:
        raise OptionError(f"defense {cell.training.defense.name!r}: option {option!r} is no dataset")
    splits = bench.splits(datasets[option])
    return ExtraExamples(
        splits.train if augmentation.crop else crop_to(splits.train, splits.input_shape),
        seed=derive_seed(job.seed, "option", option),
        device=job.device,
        augment=lambda images, generator: augment(images, augmentation, generator.child("augmentation")),
    )


def _train(job: TrainingJob, phase_id: str, bench: Workbench) -> nn.Module:
    """Train a phase; of several ranks the leader does, before it orders the training."""
    checkpoint = Checkpoint(bench.store.checkpoint_path(phase_id), phase_id)
    if bench.ranks is None or bench.ranks.leads:
        bench.earlier.setdefault(phase_id, checkpoint.time())
        checkpoint = training_checkpoint(phase_id, bench)
    model = train(job, checkpoint=checkpoint, listener=bench.listener, stop=bench.stop).model
    if bench.fresh:
        succeed(phase_id, weights_digest(model.state_dict()), bench.store)
    return model


def _on_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}


def _saved(kept: Checkpoint, bench: Workbench) -> Mapping[str, Tensor]:
    written = kept.time()
    if written is None or (bench.fresh and written / 1e9 < bench.begun):
        return {}
    stored = read_checkpoint(kept.path)
    return stored.tensors if stored is not None and stored.intact else {}
