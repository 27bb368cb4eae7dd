"""Finding what a caller means: a component by name and options, and the threat of the paper's protocol for a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchbench.cell import Component
from benchbench.contract import Kind
from benchbench.errors import UsageError
from benchbench.registry import Registry
from benchbench.suite import read_suite
from benchbench.threat import Threat

PROTOCOL_SUITE = "closer-look"


def find_component(registry: Registry, kind: Kind, entry: str | Mapping[str, Any]) -> Component:
    """Resolve a component given as suites do: a name, or a mapping of ``name`` and options.

    Raises:
        UsageError: there is no name.
        UnknownNameError: nothing has this name.
        OptionError: an option is unknown, of the wrong type or out of range.

    >>> from benchbench.registry import load_registry
    >>> find_component(load_registry(), "attack", {"name": "pgd", "steps": 50}).options["steps"]
    50
    """
    options = {"name": entry} if isinstance(entry, str) else dict(entry)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f"{kind} {entry!r} has no name", hint='give a name, or {name = "...", OPTION = ...}')
    return registry.resolve(kind, name, options)


def protocol_threat(registry: Registry, dataset: str) -> Threat | None:
    """The threat that the paper's protocol has for a dataset; None for a dataset that it does not use."""
    suite = read_suite(PROTOCOL_SUITE, registry)
    experiments = (experiment for profile in suite.profiles for experiment in suite.profile(profile))
    return next((experiment.threat for experiment in experiments if experiment.dataset.name == dataset), None)
