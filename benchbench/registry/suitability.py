"""Whether a component suits norm, task and environment, by its offer's stated capabilities."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from benchbench.contract import Capabilities, Norm


@dataclass(frozen=True, kw_only=True)
class Unsuited:
    """Why a component does not suit, to follow its kind and name, and a hint."""

    reason: str
    hint: str = ""


def unsuited_norm(capabilities: Capabilities, norm: Norm) -> Unsuited | None:
    """Why a component does not work in a norm; None if it does."""
    if norm in capabilities.norms:
        return None
    return Unsuited(reason=f"does not work for the norm {norm}", hint=f"it works for {', '.join(capabilities.norms)}")


def unsuited_task(
    capabilities: Capabilities, task: str, classes: int | None = None, *, data: str = "the data"
) -> Unsuited | None:
    """Why a component does not suit a task or, if known, its number of classes; None if it does."""
    least = capabilities.minimum_classes
    if capabilities.task not in ("any", task):
        return Unsuited(reason=f"is for {capabilities.task}, {data} is for {task}")
    if task == "classification" and classes is not None and classes < least:
        return Unsuited(reason=f"needs at least {least} classes, {data} has {classes}")
    return None


def missing_modules(capabilities: Capabilities) -> dict[str, str]:
    """Missing optional modules that a component needs, to the commands that install them."""
    # To find a module in a package would import the package: the package alone counts.
    required = capabilities.requires.items()
    return {module: command for module, command in required if find_spec(module.partition(".")[0]) is None}
