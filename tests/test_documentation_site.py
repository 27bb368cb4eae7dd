"""The documentation site builds without a warning, and its pages load nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOADED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]* src="(https?:[^"]+)"|<link[^>]* href="(https?:[^"]+)"[^>]*rel="stylesheet"""
)


@pytest.mark.skipif(not find_spec("mkdocs"), reason="mkdocs-material is not installed")
def test_site_builds_without_a_warning_and_needs_no_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > 40
    assert [page.name for page in pages if LOADED.search(page.read_text(encoding="utf-8"))] == []
    assert "evaluate" in (tmp_path / "python.html").read_text(encoding="utf-8")
    assert "--record" in (tmp_path / "commands.html").read_text(encoding="utf-8")
