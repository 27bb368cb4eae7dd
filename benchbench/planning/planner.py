"""Make a plan: expand a suite's grid into cells, and find which can run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from benchbench.cell.model import Cell, EvaluationSpec, TrainingSpec, digest
from benchbench.cell.selection import parse_only, select
from benchbench.contract import DatasetSplits, DataSource, Threat
from benchbench.errors import BenchbenchError, DataError, MissingDataError, SuiteError
from benchbench.kernels.arithmetic import Precision
from benchbench.planning.datasets import DatasetLoader
from benchbench.planning.model import Plan, PlannedCell, Status
from benchbench.planning.obstacles import find_obstacle, find_wrong_radii, require_alike
from benchbench.registry import Registry
from benchbench.suite import Experiment, Suite

UNKNOWN_WITHOUT_DATA = (
    *("cell_id", "model_id", "dataset_digest", "n_train", "n_validation", "n_extra", "n_train_evaluated", "n_test"),
)


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """A cell before its data is known, without digest and counts."""

    cell: Cell
    experiment: Experiment

    @cached_property
    def identity(self) -> Mapping[str, object]:
        columns = self.cell.identity()
        return {name: value for name, value in columns.items() if name not in UNKNOWN_WITHOUT_DATA}


def make_plan(
    suite: Suite,
    registry: Registry,
    *,
    profile: str,
    source: DataSource,
    seeds: Sequence[int] | None = None,
    only: Iterable[str] = (),
    precision: Precision = "float32",
    train_precision: Precision | None = None,
    done: Callable[[Cell], bool] = lambda cell: False,
    unread: bool = False,
) -> Plan:
    """Expand a suite into cells and load their data; if `unread`, only what is not described.

    The seeds replace the suite's; `only` are filters ``KEY=VALUE,VALUE`` by identity column or option, and data that no
    remaining cell needs is not loaded. Precisions: see `benchbench.cell.model.EvaluationSpec` and, where None keeps the
    suite's, `benchbench.contract.recipe.Recipe`. An unknown profile is an UnknownNameError, a filter that is malformed or
    matches nothing a UsageError, a radius too large for the box of the data a SuiteError.
    """
    filters = parse_only(only)

    def expanded(profile: str) -> tuple[_Draft, ...]:
        return tuple(_expand(suite, registry, profile, seeds, precision, train_precision))

    def elsewhere() -> Mapping[str, tuple[_Draft, ...]]:
        return {other: expanded(other) for other in suite.profiles if other != profile}

    late = {key: values for key, values in filters.items() if key in UNKNOWN_WITHOUT_DATA}
    drafts = select(expanded(profile), {k: values for k, values in filters.items() if k not in late}, elsewhere)
    datasets = DatasetLoader(registry, source, unread=unread)
    experiments = {draft.experiment.name: draft.experiment for draft in drafts if not draft.experiment.skip}
    if wrong := find_wrong_radii(experiments.values(), datasets):
        raise SuiteError(suite.source or suite.name, wrong)
    cells = _once(_plan_cell(draft, registry, datasets, done) for draft in drafts)
    return Plan(suite=suite.name, profile=profile, cells=select(cells, late), datasets=datasets)


def cells_like(cell: Cell, suite: Suite, registry: Registry, splits: DatasetSplits) -> Iterator[Cell]:
    """The cells of a suite with the data (`splits`), profile, seed and precisions of a cell."""
    spec, own = cell.training, cell.training.dataset
    drafts = _expand(suite, registry, cell.profile, (spec.seed,), cell.evaluation.precision, spec.recipe.precision)
    for draft in drafts:
        data, skip = draft.experiment.dataset, draft.experiment.skip
        if not skip and (data.name, data.options) == (own.name, own.options):
            alike = draft.cell.training.defense.extra_datasets == spec.defense.extra_datasets
            extra = (spec.n_extra, spec.extra_digest) if alike else (0, "")
            yield _complete(draft, splits, spec.dataset_digest, extra)


def _expand(
    suite: Suite,
    registry: Registry,
    profile: str,
    seeds: Sequence[int] | None,
    precision: Precision,
    train_precision: Precision | None,
) -> Iterator[_Draft]:
    for experiment in suite.profile(profile):
        for seed in experiment.seeds if seeds is None else seeds:
            for training in _trainings(experiment, registry, seed, train_precision):
                for threat, attack in product(experiment.evaluation, experiment.attacks):
                    cell = Cell(
                        suite=suite.name,
                        profile=profile,
                        protocol=suite.protocol,
                        experiment=experiment.name,
                        training=training,
                        evaluation=EvaluationSpec(
                            attack=attack,
                            metrics=experiment.metrics,
                            threat=threat,
                            n_test=0,
                            n_train_evaluated=0,
                            checkpoint_selection=training.recipe.checkpoint_selection,
                            precision=precision,
                        ),
                    )
                    yield _Draft(cell=cell, experiment=experiment)


def _trainings(
    experiment: Experiment, registry: Registry, seed: int, precision: Precision | None
) -> Iterator[TrainingSpec]:
    for architecture in experiment.architectures:
        for defense in experiment.defenses:
            uses_threat = registry.capabilities(defense).uses_threat
            recipe = experiment.recipe_for(architecture, defense, registry.make("defense", defense))
            if precision is not None and recipe.optimizer != "none":
                recipe = dataclasses.replace(recipe, precision=precision)
            yield TrainingSpec(
                dataset=experiment.dataset,
                dataset_digest="",
                n_train=0,
                architecture=architecture,
                defense=defense,
                threat=experiment.threat if uses_threat else None,
                recipe=recipe,
                seed=seed,
                trained_on=experiment.trained_on,
            )


def _plan_cell(draft: _Draft, registry: Registry, datasets: DatasetLoader, done: Callable[[Cell], bool]) -> PlannedCell:
    experiment = draft.experiment
    if experiment.skip:
        return _without_cell(draft, "skipped", experiment.skip)
    try:
        loaded = datasets.load(experiment.dataset)
        cell = _complete(draft, loaded.splits, loaded.digest, _extra(draft, loaded.splits, datasets))
        obstacle = find_obstacle(cell, loaded.splits, registry)
    except MissingDataError as error:
        extent = datasets.extent(experiment.dataset)
        sketch = None if extent is None else _counted(draft, train=extent.train, test=extent.test)
        return _without_cell(draft, "skipped", f"{error.message}; {error.fetch}", sketch)
    except BenchbenchError as error:
        return _without_cell(draft, "failed", error.message)
    identity = cell.identity()
    status: Status = "skipped" if obstacle else "done" if done(cell) else "ready"
    return PlannedCell(cell=cell, experiment=experiment.name, identity=identity, status=status, reason=obstacle)


def _without_cell(draft: _Draft, status: Status, reason: str, sketch: Cell | None = None) -> PlannedCell:
    name, identity = draft.experiment.name, draft.identity
    return PlannedCell(cell=None, experiment=name, identity=identity, status=status, reason=reason, sketch=sketch)


def _extra(draft: _Draft, splits: DatasetSplits, datasets: DatasetLoader) -> tuple[int, str]:
    """Number and digest of the defense's extra training examples, which must suit the data."""
    loaded = {name: datasets.load(one) for name, one in draft.cell.training.defense.extra_datasets.items()}
    if not loaded:
        return 0, ""
    for name, one in loaded.items():
        require_alike(one.splits, splits, f"defense {draft.cell.training.defense.name!r}, {name}")
    count, digests = sum(len(one.splits.train) for one in loaded.values()), [one.digest for one in loaded.values()]
    return count, digests[0] if len(digests) == 1 else digest(digests)


def _complete(draft: _Draft, splits: DatasetSplits, data_digest: str, extra: tuple[int, str]) -> Cell:
    """Fill in the properties of the data: digests, box and numbers of examples."""
    cell = _counted(draft, train=len(splits.train), test=len(splits.test))
    if cell.training.n_train < 1:
        raise DataError(f"the validation split takes {cell.training.n_validation:,} training examples, which are all")

    def boxed(threat: Threat) -> Threat:
        return dataclasses.replace(threat, lower=splits.lower, upper=splits.upper)

    threat, trained = boxed(cell.evaluation.threat), cell.training.threat and boxed(cell.training.threat)
    n_extra, extra_digest = extra
    training = dataclasses.replace(
        cell.training, dataset_digest=data_digest, threat=trained, n_extra=n_extra, extra_digest=extra_digest
    )
    return dataclasses.replace(cell, training=training, evaluation=dataclasses.replace(cell.evaluation, threat=threat))


def _counted(draft: _Draft, *, train: int, test: int) -> Cell:
    """The cell with the experiment's numbers of examples, at most the available ones."""
    experiment = draft.experiment
    used = _at_most(experiment.n_train, train + (test if experiment.trained_on == "train+test" else 0))
    n_validation = draft.cell.training.recipe.held_out(used)
    n_train = used - n_validation
    evaluation = dataclasses.replace(
        draft.cell.evaluation,
        n_test=_at_most(experiment.n_test, test),
        n_train_evaluated=_at_most(experiment.n_train_evaluated, min(n_train, train)),
    )
    training = dataclasses.replace(draft.cell.training, n_train=n_train, n_validation=n_validation)
    return dataclasses.replace(draft.cell, training=training, evaluation=evaluation)


def _at_most(limit: int | None, available: int) -> int:
    return available if limit is None else min(limit, available)


def _once(planned: Iterable[PlannedCell]) -> tuple[PlannedCell, ...]:
    """Remove the cells that an earlier experiment has already."""
    kept: dict[object, PlannedCell] = {}
    for entry in planned:
        kept.setdefault(entry.identity.get("cell_id", id(entry)), entry)
    return tuple(kept.values())
