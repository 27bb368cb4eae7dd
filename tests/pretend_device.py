"""Commands on the pretend CUDA device, in processes that begin with it: it changes torch for good."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pretend_cuda
import pytest

ROOT = Path(__file__).parents[1]

needs_pretend_device = pytest.mark.skipif(
    bool(pretend_cuda.why_not()) or pretend_cuda.installed(), reason=pretend_cuda.why_not() or "is on the device itself"
)
only_on_pretend_device = pytest.mark.skipif(
    not pretend_cuda.installed(), reason="run by tests/test_pretend_device.py, on the pretend CUDA device"
)


def on_pretend_device(*arguments: str, **options: Any) -> str:
    """Run Python there; returns what it prints. See `pretend_cuda.environment` for the options."""
    finished = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=pretend_cuda.environment(**options),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, (finished.stdout + finished.stderr)[-6000:]
    return finished.stdout
