"""Import factories at their first use."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from benchbench.errors import PluginError
from benchbench.registry.blame import summarise_error
from benchbench.registry.discovery import Registered


class Factories:
    """Factories and functions that list members, by reference; each is imported once."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def load(self, entry: Registered, factory: Callable[..., Any] | str) -> Callable[..., Any]:
        """The callable itself, or the one that ``module:attribute`` names."""
        if not isinstance(factory, str):
            return factory
        if factory not in self._loaded:
            module, _, attribute = factory.partition(":")
            try:
                self._loaded[factory] = attrgetter(attribute)(importlib.import_module(module))
            except Exception as error:
                raise plugin_error(entry, f"cannot import {factory!r}", error) from error
        loaded: Callable[..., Any] = self._loaded[factory]
        return loaded


def plugin_error(entry: Registered, what: str, error: Exception) -> PluginError:
    """An error that says `what` a component does wrong; its hint summarises the exception."""
    message = f"{entry.kind} {entry.offer.name!r} of {entry.distribution} {what}"
    return PluginError(message, hint=summarise_error(error))
