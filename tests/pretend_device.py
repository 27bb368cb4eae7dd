"""The pretend CUDA device, for tests that count launches and synchronisations; they skip where the tool is not there.

The device is installed before torch is imported, and changes it for good: so each count is taken in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOOL = Path(os.environ.get("PRETEND_CUDA_TOOL", "not-set"))  # the folder of pretend_cuda.py
HERE = Path(__file__).parent

needs_pretend_device = pytest.mark.skipif(
    not (TOOL / "pretend_cuda.py").exists(),
    reason="counts for minutes on the pretend CUDA device: PRETEND_CUDA_TOOL names its folder",
)


def on_pretend_device(program: str, *arguments: str) -> Any:
    """Run a program of `tests/` there; returns what it prints as JSON in its last line."""
    paths = os.pathsep.join([str(TOOL / "site"), str(TOOL), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "PRETEND_CUDA": "1"}
    finished = subprocess.run(
        [sys.executable, str(HERE / program), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return json.loads(finished.stdout.splitlines()[-1])
