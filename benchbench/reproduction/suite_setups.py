"""The setups of a suite's paper profile, in the terms of the papers' tables."""

from __future__ import annotations

from collections.abc import Sequence

from benchbench.cell.model import Component
from benchbench.cell.recipe import Recipe
from benchbench.leaderboard.published import ARCHITECTURE_NAMES, DATASET_NAMES
from benchbench.records import Row
from benchbench.registry import Registry
from benchbench.reproduction.papers import PaperTable
from benchbench.reproduction.setups import Setup
from benchbench.suite import Experiment, Suite

_PROOF_OF_CONCEPT = "7"  # the table whose models see the test set
_PROFILE = "paper"
_OPTIMIZERS = {"sgd": "SGD", "adam": "Adam"}


def suite_setups(suite: Suite, registry: Registry, rows: Sequence[Row], paper_table: PaperTable) -> tuple[Setup, ...]:
    """One setup per dataset, from the first experiment on it; empty for a suite without a paper profile.

    Args:
        suite: whose recipes they are.
        registry: tells how many classes a dataset has.
        rows: of its leaderboard: sizes of the datasets are those of the rows measured in the paper profile.
        paper_table: decides whether the models see the test set.
    """
    if _PROFILE not in suite.profiles:
        return ()
    trained_on = "train+test" if paper_table.number == _PROOF_OF_CONCEPT else "train"
    found: dict[str, Setup] = {}
    for experiment in suite.profile(_PROFILE):
        name = DATASET_NAMES.get(experiment.dataset.name)
        if name and name not in found and experiment.trained_on == trained_on and not experiment.skip:
            found[name] = _setup(name, experiment, registry, rows)
    return tuple(found.values())


def _setup(name: str, experiment: Experiment, registry: Registry, rows: Sequence[Row]) -> Setup:
    recipe = experiment.recipe_for(experiment.architectures[0], experiment.defenses[0])
    measured = [r for r in rows if (r.source, r.profile, r.experiment) == ("measured", _PROFILE, experiment.name)]
    return Setup(
        dataset=name,
        architecture=" / ".join(ARCHITECTURE_NAMES.get(part.name, part.name) for part in experiment.architectures),
        optimizer=_OPTIMIZERS.get(recipe.optimizer, recipe.optimizer),
        batch_size=str(recipe.batch_size),
        epsilon=f"{experiment.threat.epsilon:g}",
        step_size=_step_size(experiment.attacks, experiment.threat.epsilon),
        learning_rate=f"{recipe.learning_rate:g}",
        epochs=str(recipe.epochs),
        decay_epochs=" ".join(map(str, recipe.decay_epochs)),
        n_train=str(measured[0].n_train) if measured else "",
        n_test=str(measured[0].n_test) if measured else "",
        classes=str(registry.get("dataset", experiment.dataset.name).offer.capabilities.minimum_classes),
        exceptions=_exceptions(experiment, recipe),
    )


def _step_size(attacks: Sequence[Component], epsilon: float) -> str:
    """The step size of PGD, whose options give it as a share of epsilon."""
    ratios = [attack.options.get("step_ratio") for attack in attacks]
    return next((f"{ratio * epsilon:g}" for ratio in ratios if isinstance(ratio, float)), "")


def _exceptions(experiment: Experiment, usual: Recipe) -> str:
    architecture = experiment.architectures[0]
    rates = {
        defense.name: experiment.recipe_for(architecture, defense).learning_rate for defense in experiment.defenses
    }
    other = [f"{name} at learning rate {rate:g}" for name, rate in rates.items() if rate != usual.learning_rate]
    momentum = [f"momentum {usual.momentum:g}"] if usual.momentum else []
    augmented = [f"augmentation {usual.augmentation.label}"] if usual.augmentation.label != "none" else []
    return ", ".join([*momentum, *augmented, *other])
