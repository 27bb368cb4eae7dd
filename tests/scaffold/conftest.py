"""A fresh environment to install a plugin into."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

Interpreter = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def fresh_python(tmp_path: Path) -> Callable[[Path], Interpreter]:
    """Install a distribution by pip into an environment that borrows this one's packages; gives its interpreter."""

    def install(distribution: Path) -> Interpreter:
        folder = tmp_path / "environment"
        venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
        python = str(folder / "bin" / "python")

        def call(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run([python, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False)

        own = call("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
        borrowed = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        Path(own, "borrowed.pth").write_text(borrowed, encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install", "--no-deps"]
        installed = subprocess.run([*pip, str(distribution)], capture_output=True, text=True, cwd=folder, check=False)
        assert installed.returncode == 0, installed.stderr
        return call

    return install
