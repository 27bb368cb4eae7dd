"""Find a component by name and options, as suites write it."""

from __future__ import annotations

from benchbench.cell.model import Component
from benchbench.contract.offers import Kind
from benchbench.errors import UsageError
from benchbench.registry.catalog import Registry
from benchbench.registry.options import ComponentEntry as ComponentEntry


def find_component(registry: Registry, kind: Kind, entry: ComponentEntry) -> Component:
    """Resolve a component that is written as a name, or as a mapping of ``name`` and options.

    A mapping without a name is a UsageError; see also `Registry.resolve`.

    >>> from benchbench.registry import load_registry
    >>> find_component(load_registry(), "attack", {"name": "pgd", "steps": 50}).options["steps"]
    50
    """
    options: dict[str, object] = {"name": entry} if isinstance(entry, str) else dict(entry)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f"{kind} {entry!r} has no name", hint='give a name, or {name = "...", OPTION = ...}')
    return registry.resolve(kind, name, options)
