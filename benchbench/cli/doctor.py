"""``benchbench doctor``: check this installation."""

from __future__ import annotations

import os
import re
import shutil
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import click

from benchbench.cli.namesake import find_namesake
from benchbench.cli.options import folder_options, json_option
from benchbench.cli.printing import print_json, print_table
from benchbench.errors import BenchbenchError, counted
from benchbench.registry import load_registry
from benchbench.settings import find_device, find_folders
from benchbench.version import DISTRIBUTION, install_command


@click.command(name="doctor")
@folder_options
@json_option
def command(as_json: bool, **folders: object) -> int:
    """Examine this installation: versions, device, folders and plugins.

    Exit status: 0 all is well, 1 there is a problem.
    """
    from benchbench.records.provenance import describe_device

    device = ("device", True, describe_device(find_device()))
    checks = [
        *_packages(),
        ("extras", *_extras()),
        ("namesake", *find_namesake()),
        device,
        *_places(folders),
        _plugins(),
    ]
    if as_json:
        print_json([{"check": name, "ok": ok, "detail": detail} for name, ok, detail in checks])
    else:
        print_table(("check", "state", "detail"), [(name, "ok" if ok else "PROBLEM", d) for name, ok, d in checks])
    return 0 if all(ok for _, ok, _ in checks) else 1


def _packages() -> list[tuple[str, bool, str]]:
    from benchbench.builtin.torchvision_import import import_torchvision
    from benchbench.records.provenance import versions

    found = ", ".join(f"{name} {version}" for name, version in versions().items())
    try:
        import_torchvision()
    except (ImportError, RuntimeError) as error:
        return [("packages", True, found), ("torch and torchvision", False, str(error))]
    return [("packages", True, found), ("torch and torchvision", True, "the installed pair imports")]


def _extras() -> tuple[bool, str]:
    """Which extras lack packages here, and how to install them; nobody needs them all."""
    wanted: dict[str, list[str]] = {}
    try:
        stated = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return True, f"unknown, because {DISTRIBUTION} is not installed here"
    for text in stated:
        needed = re.match(r"[A-Za-z0-9._-]+", text)
        extra = re.search(r"extra == ['\"]([a-z-]+)['\"]", text)
        if needed and extra and needed[0] != DISTRIBUTION and extra[1] != "test" and not _is_installed(needed[0]):
            wanted.setdefault(extra[1], []).append(needed[0])
    missing = (f"{name} ({', '.join(packages)}): {install_command(name)}" for name, packages in sorted(wanted.items()))
    return True, "; ".join(missing) or "all are installed"


def _is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def _places(folders: dict[str, object]) -> list[tuple[str, bool, str]]:
    try:
        found = find_folders(**folders)  # type: ignore[arg-type]
    except BenchbenchError as error:
        return [("folders", False, str(error))]
    writable = {"runs": found.runs, "leaderboards": found.leaderboards.absolute()}
    missing = "" if found.data.is_dir() else " (not there yet)"
    return [("data root", True, f"{found.data}{missing}"), *(_place(name, path) for name, path in writable.items())]


def _place(name: str, folder: Path) -> tuple[str, bool, str]:
    """Whether a folder can be written or created."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        return name, False, f"{folder}: {nearest} is {'not writable' if nearest.is_dir() else 'a file, not a folder'}"
    return name, True, f"{folder}, {shutil.disk_usage(nearest).free / 2**30:.1f} GiB free"


def _plugins() -> tuple[str, bool, str]:
    registry = load_registry()
    if registry.problems:
        return "plugins", False, f"{counted(len(registry.problems), 'problem')}: see 'benchbench plugins doctor'"
    return "plugins", True, f"{len(registry.plugins)} loaded"
