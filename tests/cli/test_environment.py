"""What the command sets for torch before it is imported: huge pages, short spinning; users may object."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchbench.cli import POLICY, VARIABLE, ask_for_huge_pages, limit_spinning


@pytest.mark.parametrize(
    ("policy", "before", "after"),
    [
        ("always [madvise] never", {}, {VARIABLE: "1"}),
        ("[always] madvise never", {}, {VARIABLE: "1"}),
        ("always madvise [never]", {}, {}),
        ("always [madvise] never", {VARIABLE: "0"}, {VARIABLE: "0"}),
        (None, {}, {}),
    ],
)
def test_they_are_requested_if_the_system_has_them(
    tmp_path: Path, policy: str | None, before: dict[str, str], after: dict[str, str]
) -> None:
    if policy is not None:
        (tmp_path / "enabled").write_text(policy)
    ask_for_huge_pages(before, tmp_path / "enabled")
    assert before == after


@pytest.mark.skipif(not POLICY.exists() or "[never]" in POLICY.read_text(), reason="this system gives none")
def test_the_command_asks_before_torch_is_there() -> None:
    program = f"""
import atexit, os, sys
atexit.register(lambda: print(*map(os.environ.get, [{VARIABLE!r}, 'GOMP_SPINCOUNT']), 'torch' in sys.modules))
sys.argv = ['benchbench', '--version']
from benchbench.cli import main
main()
"""
    environment = {name: value for name, value in os.environ.items() if name not in (VARIABLE, "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-3:] == ["1", "10000", "False"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"GOMP_SPINCOUNT": "10000"}),
        ({"GOMP_SPINCOUNT": "5"}, {"GOMP_SPINCOUNT": "5"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_threads_spin_shortly_unless_the_user_says_how_they_wait(before: dict[str, str], after: dict[str, str]) -> None:
    limit_spinning(before)
    assert before == after
