"""Layers of settings by experiment, before they are merged: what another suite can extend."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchbench.cell.model import Component
from benchbench.registry.problems import Place
from benchbench.suite.model import Settings, Suite

_NO_SUITE = Suite(name="", protocol="", experiments={})
Layer = tuple[str | None, Settings]  # with the profile that it is for; None for all


@dataclass(frozen=True, kw_only=True)
class Draft:
    """An experiment as layers, later ones win."""

    name: str
    dataset: Component | None = None  # None if no file names it
    layers: tuple[Layer, ...] = ()
    inherited: int = 0  # layers that another experiment or suite has stated
    place: Place = ()  # in the file that is read, for messages

    def under(self, layers: Iterable[Layer], place: Place) -> Draft:
        """The experiment below the layers of one more file: first those of all profiles."""
        ordered = sorted(layers, key=lambda layer: layer[0] is not None)
        return dataclasses.replace(self, layers=(*self.layers, *ordered), inherited=len(self.layers), place=place)

    def settings(self, profile: str) -> list[Settings]:
        """The layers of a profile."""
        return [settings for of, settings in self.layers if of in (None, profile)]


@dataclass(frozen=True, kw_only=True)
class Document:
    """A suite with the layers that it was made of."""

    suite: Suite = _NO_SUITE
    shared: tuple[Layer, ...] = ()  # for all experiments
    drafts: Mapping[str, Draft] = dataclasses.field(default_factory=dict)

    @property
    def added(self) -> tuple[Layer, ...]:
        """What applies to an experiment that an extending suite adds: all but reasons to skip."""
        return tuple((of, dataclasses.replace(settings, skip=None)) for of, settings in self.shared)
