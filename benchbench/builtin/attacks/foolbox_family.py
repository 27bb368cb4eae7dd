"""Every Foolbox attack that searches an L-inf, L2 or L1 ball, as ``foolbox:<AttackClass>``."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping

from benchbench.builtin.attacks.foolbox_attack import FoolboxAttack, import_foolbox, norms_of, parameters_of
from benchbench.contract import OptionError

UNSUITABLE: Mapping[str, str] = {
    "BinarizationRefinementAttack": "it only refines the adversarial examples of another attack",
    "DatasetAttack": "it returns other images that it was fed with, and an attack here sees one image at a time",
    "L0BrendelBethgeAttack": "it bounds the number of pixels, which no ball of these norms does",
    "L0FMNAttack": "it bounds the number of pixels, which no ball of these norms does",
    "SpatialAttack": "it rotates and shifts, which no norm bounds",
}


def members() -> tuple[str, ...]:
    """Sorted names of usable Foolbox attacks: all but abstract ones and those of `UNSUITABLE`."""
    foolbox = import_foolbox()
    names = (name for name, value in vars(foolbox.attacks).items() if _is_attack(value, foolbox.attacks.Attack))
    return tuple(sorted(name for name in names if name not in UNSUITABLE and norms_of(name)))


def foolbox_attack(
    *,
    member: str,
    steps: int | None = None,
    rel_stepsize: float | None = None,
    abs_stepsize: float | None = None,
    random_start: bool | None = None,
) -> FoolboxAttack:
    """Make the Foolbox attack of a class name.

    Args:
        member: exact name of a class in `foolbox.attacks`, for instance ``LinfPGD``.
        steps: number of steps; None for Foolbox's default, here and below.
        rel_stepsize: step as a multiple of epsilon.
        abs_stepsize: step in input units.
        random_start: whether to start at a random point of the ball.

    Raises:
        OptionError: the class is unknown, cannot be used here, or does not take a given option.
    """
    if member in UNSUITABLE:
        raise OptionError(f"foolbox:{member} cannot be used: {UNSUITABLE[member]}")
    if member not in members():
        near = difflib.get_close_matches(member, members(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(members())}"
        raise OptionError(f"Foolbox has no attack {member!r} for an L-inf, L2 or L1 ball", hint=hint)
    offered = {"steps": steps, "rel_stepsize": rel_stepsize, "abs_stepsize": abs_stepsize, "random_start": random_start}
    given = {name: value for name, value in offered.items() if value is not None}
    accepted = parameters_of(member)
    foreign = sorted(set(given) - set(accepted))
    if foreign:
        takes = sorted(set(accepted) & set(offered))
        raise OptionError(
            f"foolbox:{member} does not take {', '.join(foreign)}",
            hint=f"it takes {', '.join(takes)}" if takes else "it takes none of a suite's options",
        )
    missing = sorted(name for name, p in accepted.items() if p.default is inspect.Parameter.empty and name not in given)
    if missing:
        raise OptionError(f"foolbox:{member} needs {', '.join(missing)}")
    return FoolboxAttack(member=member, options=given)


def _is_attack(value: object, base: type) -> bool:
    return inspect.isclass(value) and issubclass(value, base) and not inspect.isabstract(value)
