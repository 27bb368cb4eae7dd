"""A suite after reading: frozen, with every component resolved."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from benchbench.cell.model import Component
from benchbench.contract import RecipeDefense
from benchbench.contract.recipe import NO_TRAINING, Recipe
from benchbench.contract.threat import Threat
from benchbench.errors import UnknownNameError
from benchbench.registry.options import Values

TrainedOn = Literal["train", "train+test"]


@dataclass(frozen=True, kw_only=True)
class RecipeLayer:
    """Fields of `Recipe` for models of some defenses and architectures; an empty tuple is all."""

    fields: Values
    defenses: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()

    def applies_to(self, architecture: Component, defense: Component) -> bool:
        """Whether the layer is for models of this architecture and defense."""
        return (not self.defenses or defense.name in self.defenses) and (
            not self.architectures or architecture.name in self.architectures
        )


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A grid of cells that share dataset, threat and protocol."""

    name: str  # unique within the suite
    dataset: Component
    architectures: tuple[Component, ...]
    defenses: tuple[Component, ...]
    attacks: tuple[Component, ...]
    metrics: tuple[Component, ...]
    threat: Threat  # norm and epsilon; the dataset sets the box
    recipe_layers: tuple[RecipeLayer, ...]
    n_train: int | None = None  # training examples used; None for all, as for the test and training examples evaluated
    n_test: int | None = None
    n_train_evaluated: int | None = None
    trained_on: TrainedOn = "train"  # ``"train"``, or ``"train+test"`` for a proof of concept, which sees the test set
    skip: str = ""  # why this profile leaves the experiment out; otherwise empty

    def recipe_for(self, architecture: Component, defense: Component, made: object = None) -> Recipe:
        """The recipe of one model, adapted by its defense if it is `made`.

        Without an optimiser the other fields have no meaning.
        """
        fields: Values = {}
        for layer in self.recipe_layers:
            if layer.applies_to(architecture, defense):
                fields.update(layer.fields)
        if fields.get("optimizer") == "none":
            return NO_TRAINING
        return made.adapt_recipe(Recipe(**fields)) if isinstance(made, RecipeDefense) else Recipe(**fields)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A benchmark."""

    name: str  # kebab-case; the leaderboard has the same name
    protocol: str  # name and version of the protocol, for instance ``closer-look-1``
    title: str = ""
    summary: str = ""  # one line
    paper: str = ""  # a citation
    seeds: tuple[int, ...] = (0,)  # the default seeds of a run
    source: str = ""  # the file that it was read from
    experiments: Mapping[str, tuple[Experiment, ...]]  # by profile, in the order of the file

    @property
    def profiles(self) -> tuple[str, ...]:
        """Names of the profiles."""
        return tuple(self.experiments)

    def profile(self, name: str) -> tuple[Experiment, ...]:
        """The experiments of a profile; `UnknownNameError` if the suite does not have it."""
        if name not in self.experiments:
            raise UnknownNameError(f"profile of suite {self.name}", name, self.experiments)
        return self.experiments[name]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One layer of an experiment's settings; a field without a setting is None or empty."""

    architectures: tuple[Component, ...] | None = None
    defenses: tuple[Component, ...] | None = None
    attacks: tuple[Component, ...] | None = None
    metrics: tuple[Component, ...] | None = None
    threat: Values = field(default_factory=dict)
    recipe_layers: tuple[RecipeLayer, ...] = ()
    n_train: int | None = None
    n_test: int | None = None
    n_train_evaluated: int | None = None
    trained_on: TrainedOn | None = None
    skip: str | None = None

    def over(self, base: Settings) -> Settings:
        """These settings on top of others: recipes and threats merge by field, others replace."""
        changes: Values = {name: value for name, value in vars(self).items() if value is not None}
        changes["threat"] = {**base.threat, **self.threat}
        changes["recipe_layers"] = (*base.recipe_layers, *self.recipe_layers)
        return dataclasses.replace(base, **changes)
