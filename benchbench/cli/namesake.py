"""Another installed project called ``benchbench``, whose files and ours replace each other."""

from __future__ import annotations

import sys

from benchbench.errors import UsageError
from benchbench.version import DISTRIBUTION, __version__

NAME = "benchbench"  # the folder of both, and the other project's distribution
REMEDY = f"pip uninstall {NAME}; then install {DISTRIBUTION} again, with --force-reinstall --no-deps"


def require_own_files() -> None:
    """UsageError if the other project has replaced or deleted ``benchbench/__init__.py``."""
    if getattr(sys.modules[NAME], "__version__", None) != __version__:
        raise UsageError(
            f"another project called {NAME} has replaced or deleted files of {DISTRIBUTION}: both use the folder {NAME}",
            hint=REMEDY,
        )


def find_namesake() -> tuple[bool, str]:
    """Look for an installed distribution ``benchbench``: whether all is well, and the finding."""
    from importlib import metadata

    from benchbench.registry.discovery import BUILT_IN

    try:
        found = metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        return True, f"no other project called {NAME} is installed"
    if any(entry_point.value == BUILT_IN for entry_point in found.entry_points):
        return True, f"{NAME} {found.version} is this project under its former name"
    return False, f"{NAME} {found.version} is another project that uses the same folder: {REMEDY}"
