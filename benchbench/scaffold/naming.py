"""Derive the names of a new plugin from that of its component."""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchbench.contract.offers import KINDS, Kind
from benchbench.errors import UnknownNameError, UsageError
from benchbench.version import DISTRIBUTION

LONGEST_NAME = 60  # characters: a name occurs several times in a path, and some file systems allow only 255 bytes
_PREFIX = "benchbench-"
_KEBAB_CASE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")


@dataclass(frozen=True, kw_only=True)
class PluginNames:
    """The names of a plugin: in suites, for pip (and the folder), for imports, of the class."""

    kind: Kind
    component: str
    distribution: str
    package: str
    class_name: str


def plugin_names(kind: str, name: str) -> PluginNames:
    """Derive every name from the component's; a leading ``benchbench-`` is removed.

    There is an UnknownNameError for another kind. A UsageError: the name is not in kebab-case, does not begin with a letter, is
    too long, or is benchbench's own.

    >>> plugin_names("attack", "square-root").class_name
    'SquareRootAttack'
    """
    known = next((one for one in KINDS if one == kind), None)
    if known is None:
        raise UnknownNameError("kind", kind, KINDS)
    component = name.removeprefix(_PREFIX)
    if not _KEBAB_CASE.match(component) or len(component) > LONGEST_NAME:
        raise UsageError(
            f"{name[: LONGEST_NAME + 20]!r} cannot name a plugin",
            hint=f"a name is in kebab-case, begins with a letter and has at most {LONGEST_NAME} characters, "
            "for instance my-defense",
        )
    if _PREFIX + component == DISTRIBUTION:
        raise UsageError(f"{DISTRIBUTION} is benchbench itself", hint="choose another name")
    return PluginNames(
        kind=known,
        component=component,
        distribution=_PREFIX + component,
        package=(_PREFIX + component).replace("-", "_"),
        class_name=_class_name(component, known),
    )


def _class_name(component: str, kind: Kind) -> str:
    # the kind at its end keeps it from being a keyword, or a name that a template imports
    words = component.split("-")
    if words[-1] != kind:
        words.append(kind)
    return "".join(word[:1].upper() + word[1:] for word in words)
