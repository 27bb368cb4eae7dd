"""Whether a plugin is written for the plugin interface that this benchbench has."""

from __future__ import annotations

from benchbench.contract import API_VERSION

ATTRIBUTE = "BENCHBENCH_API"  # of the object that the entry point names
OLDEST_SUPPORTED = 1


def api_mistake(plugin: object) -> str:
    """Say why a plugin's version of the interface does not fit; empty when it does.

    A plugin that states none is taken for the oldest supported one: its hooks and products are checked anyway.
    """
    version = getattr(plugin, ATTRIBUTE, OLDEST_SUPPORTED)
    if type(version) is not int:
        return f"{ATTRIBUTE} must be an integer, got {version!r:.40}"
    if version > API_VERSION:
        return f"it is written for version {version} of the plugin interface, this benchbench has version {API_VERSION}"
    if version < OLDEST_SUPPORTED:
        return (
            f"it is written for version {version} of the plugin interface, "
            f"this benchbench supports {OLDEST_SUPPORTED} to {API_VERSION}"
        )
    return ""
