"""Import factories at their first use, and check what they make."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TypeVar, cast

from benchbench.cell.model import Component
from benchbench.contract import Attack, Dataset, Defense, Executor, FittingDefense, Metric, SteppingDefense
from benchbench.contract.offers import Kind
from benchbench.errors import PLUGIN_FAULTS, ContractError, PluginError
from benchbench.registry.blame import summarise_error
from benchbench.registry.discovery import Registered
from benchbench.registry.wording import with_article

_PROTOCOLS: Mapping[Kind, tuple[type, ...]] = {
    "dataset": (Dataset,),
    "defense": (Defense, SteppingDefense, FittingDefense),
    "attack": (Attack,),
    "metric": (Metric,),
    "suite": (str, os.PathLike),
    "executor": (Executor,),
}

Made = TypeVar("Made")


class Factories:
    """Factories and functions that list members, by reference; each is imported once."""

    def __init__(self) -> None:
        self._loaded: dict[str, Callable[..., object]] = {}

    def load(self, entry: Registered, factory: Callable[..., Made] | str) -> Callable[..., Made]:
        """The callable itself, or the one that ``module:attribute`` names."""
        if not isinstance(factory, str):
            return factory
        if factory not in self._loaded:
            module, _, attribute = factory.partition(":")
            try:
                self._loaded[factory] = attrgetter(attribute)(importlib.import_module(module))
            except PLUGIN_FAULTS as error:
                raise plugin_error(entry, f"cannot import {factory!r}", error) from error
        return cast("Callable[..., Made]", self._loaded[factory])


def plugin_error(entry: Registered, what: str, error: BaseException) -> PluginError:
    """An error that says `what` a component does wrong; its hint summarises the exception."""
    message = f"{entry.kind} {entry.offer.name!r} of {entry.distribution} {what}"
    return PluginError(message, hint=summarise_error(error))


def check_product(component: Component, product: object) -> None:
    """Raise `ContractError` unless a factory made an object of its component's kind."""
    if component.kind == "architecture":  # an nn.Module, recognised without importing torch
        fits, expected = callable(product) and hasattr(product, "state_dict"), "nn.Module"
    else:
        protocols = _PROTOCOLS[component.kind]
        fits, expected = isinstance(product, protocols), " or ".join(protocol.__name__ for protocol in protocols)
    if not fits:
        raise ContractError(
            f"the factory of {component.kind} {component.name!r} ({component.distribution}) made "
            f"{with_article(type(product).__name__)}, expected: {expected}"
        )
