"""A machine with a GPU has few packages: the tests that are for it are collected there, and components imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What torch, torchvision, timm, pyarrow, rich, pluggy, numpy and pytest do not bring along.
ABSENT = (
    *("hypothesis", "scipy", "foolbox", "eagerpy", "tabulate", "numba", "sklearn", "psutil", "pytest_timeout", "xdist"),
    *("cvxpy", "clarabel", "click", "matplotlib", "altair", "submitit", "distributed", "selenium", "atheris"),
)
BLOCKER = """
import importlib.metadata, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""
FIND_SPEC = """
import importlib.util

found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.partition(".")[0] in {absent} else found(name, package)
"""
COLLECT = """
import pytest

sys.exit(pytest.main(["-m", "cuda", "--collect-only", "-q", "-p", "no:cacheprovider"]))
"""
IMPORT = """
import benchbench
from benchbench.registry import load_registry

assert not load_registry().problems, load_registry().problems
"""


def with_few_packages(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program where everything absent cannot be imported, and pytest loads no plugin by itself."""
    absent = repr(set(ABSENT))
    text = BLOCKER.format(absent=absent) + FIND_SPEC.format(absent=absent) + program
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    environment.pop("PYTEST_XDIST_WORKER", None)
    return subprocess.run(
        [sys.executable, "-c", text], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_marked_tests_are_collected_where_packages_are_few() -> None:
    finished = with_few_packages(COLLECT)
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
    assert finished.stdout.count("::") > 20


def test_the_package_and_what_is_built_in_are_found_where_packages_are_few() -> None:
    finished = with_few_packages(IMPORT)
    assert finished.returncode == 0, finished.stderr[-3000:]
