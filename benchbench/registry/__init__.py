"""The registry: discovery, unique names, reports of broken plugins, options, lazy loading."""

from __future__ import annotations

from benchbench.registry.catalog import Registry, load_registry
from benchbench.registry.discovery import PluginInfo, PluginProblem, Registered
from benchbench.registry.examination import REMEDIES, examine
from benchbench.registry.options import OptionSpec
from benchbench.registry.problems import InvalidOptionsError

__all__ = [
    "REMEDIES",
    "InvalidOptionsError",
    "OptionSpec",
    "PluginInfo",
    "PluginProblem",
    "Registered",
    "Registry",
    "examine",
    "load_registry",
]
