"""Write the files of a new distribution from the templates beside this module."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from benchbench.atomic import scratch_folder, storage_errors
from benchbench.contract import API_VERSION
from benchbench.contract.offers import KINDS, Kind
from benchbench.errors import UnknownNameError, UsageError
from benchbench.version import DISTRIBUTION, __version__

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

    Another kind is an UnknownNameError. A name that is not in kebab-case, does not begin with a letter, is too long, or is
    benchbench's own is a UsageError.

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


_SUFFIX = ".template"  # so that no tool takes a template for Python


def write_plugin(kind: str, name: str, *, out: Path) -> Path:
    """Write a distribution with one component, which installs and passes its own tests.

    The component also runs in its example suite. Returns the distribution's folder, ``out/benchbench-my-defense`` for instance.
    A wrong kind or name, and a folder that exists, are a UsageError.
    """
    names = plugin_names(kind, name)
    folder = out / names.distribution
    if folder.exists():
        raise UsageError(f"{folder} exists", hint="choose another name or --out, or remove it: nothing is overwritten")
    with storage_errors(folder):
        out.mkdir(parents=True, exist_ok=True)
        with scratch_folder("new", out) as workplace:
            unfinished = workplace / names.distribution
            _write_files(unfinished, names)
            unfinished.rename(folder)  # it appears only when it is complete
    return folder


def _write_files(folder: Path, names: PluginNames) -> None:
    values = {
        **asdict(names),
        "hook": f"benchbench_{names.kind}s",
        "host": DISTRIBUTION,
        "version": ".".join(__version__.split(".")[:2]),
        "api": API_VERSION,
    }
    templates = resources.files("benchbench.scaffold") / "templates"
    for part in ("shared", names.kind):
        for place, template in _templates(templates / part):
            target = folder / Template(place).substitute(values)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(Template(template.read_text(encoding="utf-8")).substitute(values), encoding="utf-8")


def _templates(folder: Traversable, place: str = "") -> Iterator[tuple[str, Traversable]]:
    """Each template below a folder, after the path of its file, which contains ``$package``."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _templates(entry, f"{place}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            yield place + entry.name.removesuffix(_SUFFIX), entry
