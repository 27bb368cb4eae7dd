"""Check that an offer is well formed, before anything relies on it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from benchbench.contract import NORMS, Capabilities, Offer
from benchbench.contract.columns import FILLABLE

_KEBAB_CASE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\Z")
_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*\Z")


def offer_mistakes(offer: object) -> list[str]:
    """What is malformed about an offer."""
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
        "members must be callable, 'module:attribute' or None": offer.members is None or _is_reference(offer.members),
        "capabilities must be Capabilities": isinstance(offer.capabilities, Capabilities),
    }
    broken = [f"{offer.name}: {message}" for message, holds in checks.items() if not holds]
    return broken or _capability_mistakes(offer)


def _capability_mistakes(offer: Offer) -> list[str]:
    capabilities = offer.capabilities
    unknown = [norm for norm in capabilities.norms if norm not in NORMS]
    mistakes = [
        f"{offer.name}: unknown norm {norm!r:.40} in its capabilities, known: {', '.join(NORMS)}" for norm in unknown
    ]
    mistakes += [
        f"{offer.name}: fills {column!r:.40}, which is no column that a metric may fill: {', '.join(FILLABLE)}"
        for column in capabilities.fills
        if column not in FILLABLE
    ]
    if not isinstance(capabilities.minimum_classes, int):
        mistakes.append(f"{offer.name}: minimum_classes must be an integer")
    return mistakes


def _is_reference(factory: object) -> bool:
    return callable(factory) or (isinstance(factory, str) and bool(_REFERENCE.match(factory)))
