"""Importing what offers name, when it is first used."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TypeVar, cast

from benchbench.errors import PluginError
from benchbench.registry.blame import summarise_error
from benchbench.registry.discovery import Registered

Made = TypeVar("Made")


class Factories:
    """Factories and lists of members by their references, each imported once."""

    def __init__(self) -> None:
        self._loaded: dict[str, Callable[..., object]] = {}

    def load(self, entry: Registered, factory: Callable[..., Made] | str) -> Callable[..., Made]:
        """What an offer gives as a callable or as ``module:attribute``.

        Raises:
            PluginError: it cannot be imported.
        """
        if not isinstance(factory, str):
            return factory
        if factory not in self._loaded:
            module, _, attribute = factory.partition(":")
            try:
                found: object = importlib.import_module(module)
                for part in attribute.split("."):
                    found = getattr(found, part)
            except Exception as error:
                raise plugin_error(entry, f"cannot import {factory!r}", error) from error
            self._loaded[factory] = cast("Callable[..., object]", found)
        return cast("Callable[..., Made]", self._loaded[factory])


def plugin_error(entry: Registered, what: str, error: Exception) -> PluginError:
    """What is wrong with a component, and the exception that says so."""
    message = f"{entry.kind} {entry.offer.name!r} of {entry.distribution} {what}"
    return PluginError(message, hint=summarise_error(error))
