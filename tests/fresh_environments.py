"""Environments of one's own to install plugins into, as a stranger would."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class FreshEnvironment:
    """An environment with an interpreter of its own, which sees this one's packages and has plugins besides.

    The packages are borrowed rather than installed again: torch takes minutes and gigabytes.
    """

    folder: Path

    @staticmethod
    def with_distributions(folder: Path, *distributions: Path, editable: bool = False) -> FreshEnvironment:
        """Make it, and install folders with a ``pyproject.toml`` into it by pip."""
        venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
        environment = FreshEnvironment(folder=folder)
        borrowed = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        Path(environment.packages, "borrowed.pth").write_text(borrowed, encoding="utf-8")
        python = str(environment.folder / "bin" / "python")
        pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install", "--no-deps"]
        sources = [part for one in distributions for part in (["-e", str(one)] if editable else [str(one)])]
        installed = subprocess.run([*pip, *sources], capture_output=True, text=True, cwd=folder, check=False)
        assert installed.returncode == 0, installed.stderr
        return environment

    @property
    def packages(self) -> Path:
        """Where its own packages are."""
        (found,) = (self.folder / "lib").glob("python*/site-packages")
        return found

    def python(self, *arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run its interpreter, outside the checkout."""
        command = [str(self.folder / "bin" / "python"), *map(str, arguments)]
        there = {"OMP_NUM_THREADS": "1", **os.environ}
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd or self.folder, env=there, check=False)

    def benchbench(self, *arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of the program."""
        return self.python("-m", "benchbench", *arguments, cwd=cwd)
