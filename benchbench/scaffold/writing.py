"""Write the files of a new distribution from the templates beside this module."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from benchbench.contract import API_VERSION
from benchbench.errors import StorageError, UsageError
from benchbench.scaffold.naming import PluginNames, plugin_names
from benchbench.version import DISTRIBUTION, __version__

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
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".benchbench-new-") as workplace:
            unfinished = Path(workplace, names.distribution)
            _write_files(unfinished, names)
            unfinished.rename(folder)  # it appears only when it is complete
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}", hint="choose another --out") from error
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
