"""Write a new plugin distribution, complete and working."""

from __future__ import annotations

from benchbench.scaffold.writing import plugin_names, write_plugin

__all__ = ["plugin_names", "write_plugin"]
