"""Check the interface version of a plugin and the form of its offers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import get_type_hints

from benchbench.contract import API_VERSION, Capabilities, Offer
from benchbench.contract.columns import FILLABLE
from benchbench.errors import OptionError
from benchbench.registry.options import convert

API_ATTRIBUTE = "BENCHBENCH_API"  # of the object that the entry point names
OLDEST_SUPPORTED = 1
_KEBAB_CASE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\Z")
_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*\Z")


def api_mistake(plugin: object) -> str:
    """Say why a plugin's interface version does not fit; empty if it does.

    A plugin without a version counts as the oldest supported one: its hooks and products are checked anyway.
    """
    version = getattr(plugin, API_ATTRIBUTE, OLDEST_SUPPORTED)
    if type(version) is not int:
        return f"{API_ATTRIBUTE} must be an integer, got {version!r:.40}"
    written = f"it is written for version {version} of the plugin interface, this benchbench"
    if version > API_VERSION:
        return f"{written} has version {API_VERSION}"
    return f"{written} supports {OLDEST_SUPPORTED} to {API_VERSION}" if version < OLDEST_SUPPORTED else ""


def offer_mistakes(offer: object) -> list[str]:
    """Say what is malformed about an offer, one line each."""
    if not isinstance(offer, Offer):
        return [f"expected an Offer, got {offer!r:.80}"]
    if not isinstance(offer.name, str) or not _KEBAB_CASE.match(offer.name):
        return [f"name {offer.name!r:.80} is not in kebab-case"]
    checks = {
        "summary must be one line of text": isinstance(offer.summary, str) and len(offer.summary.splitlines()) == 1,
        "factory must be callable or 'module:attribute'": _is_reference(offer.factory),
        "preset must map option names to values": isinstance(offer.preset, Mapping)
        and all(isinstance(option, str) for option in offer.preset),
        "citation must be a text": isinstance(offer.citation, str),
        "revision must be an integer of at least 1": type(offer.revision) is int and offer.revision >= 1,
        "label must be at most one line of text": isinstance(offer.label, str) and len(offer.label.splitlines()) <= 1,
        "shown must be a tuple of names of options, or None": offer.shown is None
        or (isinstance(offer.shown, tuple) and all(isinstance(option, str) for option in offer.shown)),
        "members must be callable, 'module:attribute' or None": offer.members is None or _is_reference(offer.members),
        "capabilities must be Capabilities": isinstance(offer.capabilities, Capabilities),
    }
    broken = [f"{offer.name}: {message}" for message, holds in checks.items() if not holds]
    return broken or _capability_mistakes(offer)


def _capability_mistakes(offer: Offer) -> list[str]:
    capabilities, requires, mistakes = offer.capabilities, offer.capabilities.requires, []
    pairs = [*requires, *requires.values()] if isinstance(requires, Mapping) else requires
    for name, annotation in {**get_type_hints(Capabilities), "requires": tuple[str, ...]}.items():
        try:
            convert(annotation, {**vars(capabilities), "requires": pairs}[name])
        except OptionError as error:
            mistakes.append(f"{offer.name}: {name} of its capabilities: {error.message}")
    return mistakes or [
        f"{offer.name}: fills {column!r:.40}, which is no column that a metric may fill: {', '.join(FILLABLE)}"
        for column in capabilities.fills
        if column not in FILLABLE
    ]


def _is_reference(factory: object) -> bool:
    return callable(factory) or (isinstance(factory, str) and bool(_REFERENCE.match(factory)))
