"""Importing torchvision where its operators load and where they do not."""

from __future__ import annotations

import subprocess
import sys

import pytest

PLAIN = "import torchvision"
OURS = "from benchbench.builtin.torchvision_import import import_torchvision, _declarations"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.exhaustive  # imports them in new processes
def test_torchvision_and_timm_import_and_a_second_call_changes_nothing() -> None:
    done = run(
        f"{OURS}\nmodule = import_torchvision()\ndeclared = len(_declarations)\n"
        "assert import_torchvision() is module and len(_declarations) == declared\n"
        "import timm\nassert module.datasets.MNIST and timm.create_model('resnet10t', num_classes=3)"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.exhaustive
def test_operators_are_declared_only_where_the_plain_import_fails_even_after_somebody_tried_it() -> None:
    done = run(
        f"plain = True\ntry:\n    {PLAIN}\nexcept RuntimeError:\n    plain = False\n"
        f"{OURS}\nprint(import_torchvision().__name__, len(_declarations) == (0 if plain else 1))"
    )
    assert done.stdout.strip() == "torchvision True", done.stderr


def test_another_error_of_the_import_is_not_hidden() -> None:
    done = run(
        "import sys, importlib.abc\n"
        "class Broken(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torchvision':\n"
        "            raise RuntimeError('something else')\n"
        f"sys.meta_path.insert(0, Broken())\n{OURS}\nimport_torchvision()"
    )
    assert "RuntimeError: something else" in done.stderr
