"""Find another installed dataset by name, through the entry points that every plugin is found by."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from benchbench.contract import ENTRY_POINT_GROUP, Dataset, Offer, OptionError

_HOOK = "benchbench_datasets"


def make_base(name: str) -> Dataset:
    """Make a dataset with its options at their defaults.

    Args:
        name: of an installed dataset that needs no option, for instance ``"digits"``; one of benchbench's own comes first.

    Raises:
        OptionError: nothing installed has this name, or it cannot be made so.
    """
    offer = next((offer for offer in _installed_datasets() if offer.name == name), None)
    if offer is None or offer.members is not None:
        known = sorted({offer.name for offer in _installed_datasets() if offer.members is None})
        raise OptionError(f"base must name an installed dataset, got {name!r}", hint=f"known: {', '.join(known)}")
    try:
        made = _load(offer.factory)(**offer.preset)
    except (ImportError, AttributeError, TypeError) as error:
        raise OptionError(f"base {name!r} cannot be made without options: {error}") from error
    if not isinstance(made, Dataset):
        raise OptionError(f"base {name!r} makes a {type(made).__name__}, expected a dataset")
    return made


def _installed_datasets() -> Iterator[Offer]:
    """The offers of every plugin that can be imported; the broken ones are the host's to report."""
    entry_points = metadata.entry_points(group=ENTRY_POINT_GROUP)
    for entry_point in sorted(
        entry_points, key=lambda one: (one.dist is None or one.dist.name != "benchbench", one.name)
    ):
        try:
            hook = getattr(entry_point.load(), _HOOK, None)
            offers = list(hook()) if hook is not None else []
        except Exception:  # noqa: S112 - whatever another plugin raises is no reason to fail here
            continue
        yield from (offer for offer in offers if isinstance(offer, Offer))


def _load(factory: Any) -> Any:
    if not isinstance(factory, str):
        return factory
    module, _, attribute = factory.partition(":")
    return getattr(importlib.import_module(module), attribute)
