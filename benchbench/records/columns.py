"""What a leaderboard column is: its description and range, kept with the field that holds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


def column(
    description: str,
    *,
    default: object = dataclasses.MISSING,
    factory: Callable[[], object] | None = None,
    since: int = 1,
) -> Any:
    """A dataclass field that is a leaderboard column, required unless it has a default.

    Args:
        description: what it holds, for the schema and its documentation.
        default: value when not given.
        factory: makes the default value, for mutable ones.
        since: version of the schema that added it; rows of older files have the default.
    """
    metadata = {"description": description, "least": None, "most": None, "since": since}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def measure(description: str, *, share: bool = False, least: float | None = None) -> Any:
    """A column of something measured: None where it was not.

    Args:
        description: what it holds, for the schema and its documentation.
        share: whether the value is a fraction in [0, 1].
        least: smallest valid value; None for any.
    """
    limits = {"least": 0.0 if share else least, "most": 1.0 if share else None}
    return dataclasses.field(default=None, metadata={"description": description, **limits, "since": 1})
