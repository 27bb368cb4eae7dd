"""Checks of options and norms that components share; see `benchbench.contract.require`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from benchbench.contract import Norm, OptionError, Threat

Variant = Literal["equation", "released"]


def at_least(least: int, **values: float) -> dict[str, bool]:
    """The requirement on each option, given by name, to have at least a value."""
    return {f"{name} must be at least {least}, got {value}": value >= least for name, value in values.items()}


def ascent_checks(*, steps: int, step_ratio: float) -> dict[str, bool]:
    """Requirements on the number of steps of an ascent and on its step size over epsilon."""
    return at_least(1, steps=steps) | {f"step_ratio must be above 0, got {step_ratio}": step_ratio > 0}


def variant_check(variant: str) -> dict[str, bool]:
    """The requirement that a variant is the equation of the paper or what its code computes."""
    return {f"variant must be 'equation' or 'released', got {variant!r}": variant in ("equation", "released")}


def require_norm(name: str, threat: Threat, norms: Iterable[Norm] = ("linf", "l2")) -> None:
    """Raise an OptionError if the attack of this name does not work in the norm of the threat."""
    if threat.norm not in norms:
        raise OptionError(f"{name} works in {' or '.join(norms)}, the threat is {threat.norm}")
