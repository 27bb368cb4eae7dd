"""The registry room: discovery, unique names, broken plugins remembered and reported, options, lazy loading."""

from __future__ import annotations

from benchbench.registry.catalog import Registry, load_registry
from benchbench.registry.discovery import PluginInfo, PluginProblem, Registered
from benchbench.registry.options import InvalidOptionsError, OptionProblem, OptionSpec

__all__ = [
    "InvalidOptionsError",
    "OptionProblem",
    "OptionSpec",
    "PluginInfo",
    "PluginProblem",
    "Registered",
    "Registry",
    "load_registry",
]
