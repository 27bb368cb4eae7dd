"""What a suite is once it has been read: frozen, with every component resolved."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from benchbench.cell.model import Component
from benchbench.cell.recipe import NO_TRAINING, Recipe
from benchbench.contract.threat import Threat
from benchbench.errors import UnknownNameError
from benchbench.registry.options import Values

TrainedOn = Literal["train", "train+test"]


@dataclass(frozen=True, kw_only=True)
class RecipeLayer:
    """Recipe fields that apply to some or all models of an experiment; later layers win.

    Attributes:
        fields: values of `Recipe` fields.
        defenses: names of the defenses that it applies to; empty for all.
        architectures: names of the architectures that it applies to; empty for all.
    """

    fields: Values
    defenses: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()

    def applies_to(self, architecture: Component, defense: Component) -> bool:
        """Whether a model of this architecture and defense is meant."""
        return (not self.defenses or defense.name in self.defenses) and (
            not self.architectures or architecture.name in self.architectures
        )


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A grid of cells that share dataset, threat and protocol.

    Attributes:
        name: unique within the suite.
        threat: norm and epsilon; the dataset sets the box.
        recipe_layers: what `recipe_for` puts together.
        n_train: training examples used; None for all, as for `n_test` (evaluated) and `n_train_evaluated`.
        trained_on: ``"train"``, or ``"train+test"`` for a proof of concept, which sees the test set.
        skip: why this profile leaves the experiment out; empty when it does not.
    """

    name: str
    dataset: Component
    architectures: tuple[Component, ...]
    defenses: tuple[Component, ...]
    attacks: tuple[Component, ...]
    metrics: tuple[Component, ...]
    threat: Threat
    recipe_layers: tuple[RecipeLayer, ...]
    n_train: int | None = None
    n_test: int | None = None
    n_train_evaluated: int | None = None
    trained_on: TrainedOn = "train"
    skip: str = ""

    def recipe_for(self, architecture: Component, defense: Component) -> Recipe:
        """The recipe of one model; without an optimiser, nothing else in it says anything.

        Raises:
            OptionError: a value is out of range.
            TypeError: a required field is not given.
        """
        fields: Values = {}
        for layer in self.recipe_layers:
            if layer.applies_to(architecture, defense):
                fields.update(layer.fields)
        return NO_TRAINING if fields.get("optimizer") == "none" else Recipe(**fields)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A benchmark.

    Attributes:
        name: kebab-case; the leaderboard is named after it.
        protocol: name and version of the protocol, for instance ``closer-look-1``.
        title: for people; `summary` is one line, `paper` a citation.
        seeds: the seeds of a run that does not choose its own.
        source: the file that it was read from.
        experiments: for each profile, the experiments in the order of the file.
    """

    name: str
    protocol: str
    title: str = ""
    summary: str = ""
    paper: str = ""
    seeds: tuple[int, ...] = (0,)
    source: str = ""
    experiments: Mapping[str, tuple[Experiment, ...]]

    @property
    def profiles(self) -> tuple[str, ...]:
        """Names of the profiles."""
        return tuple(self.experiments)

    def profile(self, name: str) -> tuple[Experiment, ...]:
        """The experiments of a profile.

        Raises:
            UnknownNameError: the suite has no such profile.
        """
        if name not in self.experiments:
            raise UnknownNameError(f"profile of suite {self.name}", name, self.experiments)
        return self.experiments[name]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One layer of an experiment's settings; None (or nothing) where the layer says nothing."""

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
        """These settings on top of others: recipes and threats merge by field, everything else replaces."""
        said = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if getattr(self, f.name) is not None}
        said["threat"] = {**base.threat, **self.threat}
        said["recipe_layers"] = (*base.recipe_layers, *self.recipe_layers)
        return dataclasses.replace(base, **said)
