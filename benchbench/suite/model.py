"""A suite after reading: frozen, with every component resolved."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from benchbench.cell.model import Component
from benchbench.contract import RecipeDefense
from benchbench.contract.recipe import NO_TRAINING, Recipe
from benchbench.contract.threat import Threat
from benchbench.errors import PLUGIN_FAULTS, BenchbenchError, ContractError, PluginError, UnknownNameError
from benchbench.registry.blame import summarise_error
from benchbench.registry.options import Values
from benchbench.registry.wording import with_article

TrainedOn = Literal["train", "train+test"]
Filter = Mapping[str, tuple[object, ...]]
"""Columns and their allowed values; a component is a mapping of its name and options."""


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


def _adapted(recipe: Recipe, defense: Component, made: RecipeDefense) -> Recipe:
    what = f"defense {defense.name!r} of {defense.distribution}: adapt_recipe"
    try:
        adapted: object = made.adapt_recipe(recipe)
    except BenchbenchError:
        raise
    except PLUGIN_FAULTS as error:
        raise PluginError(f"{what} raised {summarise_error(error)}") from error
    if not isinstance(adapted, Recipe):  # a plugin may not be type-checked
        raise ContractError(f"{what} returned {with_article(type(adapted).__name__)}, expected: Recipe")
    return adapted


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A grid of cells that share dataset, threat and protocol."""

    name: str  # unique within the suite
    dataset: Component
    architectures: tuple[Component, ...]
    defenses: tuple[Component, ...]
    attacks: tuple[Component, ...]
    metrics: tuple[Component, ...]
    threat: Threat  # of training: norm and epsilon; the dataset sets the box
    evaluation: tuple[Threat, ...]  # what each trained model is attacked under: by default `threat` alone
    recipe_layers: tuple[RecipeLayer, ...]
    n_train: int | None = None  # training examples used; None for all, as for the test and training examples evaluated
    n_test: int | None = None
    n_train_evaluated: int | None = None
    seeds: tuple[int, ...] = (0,)  # a model is trained for each
    trained_on: TrainedOn = "train"  # ``"train"``, or ``"train+test"`` for a proof of concept, which sees the test set
    skip: str = ""  # why this profile leaves the experiment out; otherwise empty

    @property
    def size(self) -> int:
        """The number of its cells."""
        parts = (self.architectures, self.defenses, self.seeds, self.evaluation, self.attacks)
        return math.prod(map(len, parts))

    def recipe_for(self, architecture: Component, defense: Component, made: object = None) -> Recipe:
        """The recipe of one model, adapted by its defense if it is `made`.

        Without an optimiser the other fields have no meaning.
        """
        fields = self.recipe_fields(architecture, defense)
        if fields.get("optimizer") == "none":
            return NO_TRAINING
        recipe = Recipe(**fields)
        return _adapted(recipe, defense, made) if isinstance(made, RecipeDefense) else recipe

    def recipe_fields(self, architecture: Component, defense: Component) -> Values:
        """The fields of one model's recipe that the suite states; later layers win."""
        layers = (layer.fields for layer in self.recipe_layers if layer.applies_to(architecture, defense))
        return {name: value for fields in layers for name, value in fields.items()}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A statement about rows, for instance of a paper; see `benchbench.suite`."""

    name: str  # unique within the suite
    statement: str  # one sentence
    place: str = ""  # where the text says it
    measures: tuple[str, ...] = ()  # columns, each judged by itself
    extras: tuple[str, ...] = ()  # values of metrics that are no column, likewise
    where: Filter = field(default_factory=dict)  # the rows that it is about
    ratio: bool = False  # whether values are compared by their ratio
    above: float | None = None  # what the effect exceeds
    below: float | None = None  # what exceeds the effect
    groups: tuple[Filter, ...] = ()
    every: bool = False
    paired: bool = False
    option: str = ""
    against: str = ""
    minus: str = ""
    exceeds: Literal["", "two-epsilon", "random-labels"] = ""
    dataset: Component | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """The effect lies between these if the finding holds; infinite where there is none."""
        above = 0.0 if self.exceeds else self.above
        return -math.inf if above is None else above, math.inf if self.below is None else self.below


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A benchmark."""

    name: str  # kebab-case; the leaderboard has the same name
    protocol: str  # name and version of the protocol, for instance ``closer-look-1``
    title: str = ""
    summary: str = ""  # one line
    paper: str = ""  # a citation
    seeds: tuple[int, ...] = (0,)  # of experiments that state no others
    source: str = ""  # the file that it was read from
    extends: tuple[str, ...] = ()  # the files of the suites that it extends, the nearest first
    experiments: Mapping[str, tuple[Experiment, ...]]  # by profile, in the order of the file
    findings: tuple[Finding, ...] = ()

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
    evaluation: tuple[Values, ...] | None = None
    recipe_layers: tuple[RecipeLayer, ...] = ()
    n_train: int | None = None
    n_test: int | None = None
    n_train_evaluated: int | None = None
    trained_on: TrainedOn | None = None
    seeds: tuple[int, ...] | None = None
    skip: str | None = None

    def over(self, base: Settings) -> Settings:
        """These settings on top of others: recipes and threats merge by field, others replace."""
        changes: Values = {name: value for name, value in vars(self).items() if value is not None}
        changes["threat"] = {**base.threat, **self.threat}
        changes["recipe_layers"] = (*base.recipe_layers, *self.recipe_layers)
        return dataclasses.replace(base, **changes)
