"""Fixtures that many tests share."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from benchbench.registry import load_registry

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # one core a worker
    os.environ["OMP_NUM_THREADS"] = "1"  # and in the processes that tests start

settings.register_profile("shared-machine", deadline=None, derandomize=True)
settings.load_profile("shared-machine")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def real_data() -> Path:
    """The data root with real MNIST, from BENCHBENCH_DATA or beside the checkout; skips where there is none."""
    root = Path(os.environ.get("BENCHBENCH_DATA") or SHARED_DATA)
    if not (root / "MNIST" / "raw").is_dir():
        pytest.skip("no real MNIST: set BENCHBENCH_DATA to a folder that holds MNIST/raw")
    return root


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Make runs and plans of this process find a plugin that is not installed."""

    def planted(plugin: object) -> None:
        for name in ("benchbench.api", "benchbench.planning.preparing"):
            module = importlib.import_module(name)
            monkeypatch.setattr(module, "load_registry", lambda: load_registry(extra_plugins=[plugin]))

    return planted


@pytest.fixture(autouse=True)
def _private_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's cache or data."""
    monkeypatch.setenv("BENCHBENCH_HOME", str(tmp_path / "benchbench-home"))


@pytest.fixture(autouse=True)
def _global_randomness_fixed() -> Iterator[None]:
    """Networks that a test makes have the same weights each time, whichever tests ran before."""
    before = torch.random.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.random.set_rng_state(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked cuda need a device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
