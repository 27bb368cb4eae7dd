"""Checks of options that defenses share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from benchbench.contract import OptionError

Variant = Literal["equation", "released"]


def require(checks: Mapping[str, bool]) -> None:
    """Raise one error for every requirement that does not hold.

    Args:
        checks: what is required, in words, and whether it holds.

    Raises:
        OptionError: naming all requirements that are broken.
    """
    broken = [requirement for requirement, holds in checks.items() if not holds]
    if broken:
        raise OptionError("; ".join(broken))


def inner_checks(*, steps: int, step_ratio: float) -> dict[str, bool]:
    """Requirements on an inner maximisation's number of steps and step size over epsilon."""
    return {
        f"steps must be at least 1, got {steps}": steps >= 1,
        f"step_ratio must be above 0, got {step_ratio}": step_ratio > 0,
    }


def variant_check(variant: str) -> dict[str, bool]:
    """The requirement that a variant is one of the two that the protocol names."""
    return {f"variant must be 'equation' or 'released', got {variant!r}": variant in ("equation", "released")}
