"""Fixtures that many tests share."""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from run_processes import EXHAUSTIVE

from benchbench.registry import load_registry

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # one core a worker
    os.environ["OMP_NUM_THREADS"] = "1"  # and in the processes that tests start

if find_spec("hypothesis"):
    from hypothesis import settings

    settings.register_profile("shared-machine", deadline=None, derandomize=True)
    settings.load_profile("shared-machine")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know the settings of pytest-timeout where it is not installed, as on a machine with a GPU and few packages."""
    if not find_spec("pytest_timeout"):
        parser.addini("timeout", "seconds that a test may take")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("dist", "no") == "load":  # else one process gets all slow files, as they stand first
        config.option.dist, config.option.loadscopereorder = "loadfile", False
    if not find_spec("pytest_timeout"):
        config.addinivalue_line("markers", "timeout(seconds): how long a test may take")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m cuda`, leave out files and folders without such a test: not every machine with a GPU has what they import."""
    if config.option.markexpr.strip() != "cuda":
        return None
    files = collection_path.rglob("test_*.py") if collection_path.is_dir() else [collection_path]
    return None if any("mark.cuda" in file.read_text(encoding="utf-8") for file in files) else True


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


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Networks that are made while a file is read have the same weights each time, too."""
    if isinstance(collector, pytest.Module):
        torch.manual_seed(0)


def _skip_what_takes_long(items: list[pytest.Item]) -> None:
    """Skip the tests marked `exhaustive`, and most cases of those marked `sampled`."""
    cases: Counter[str] = Counter()
    for item in items:
        name = item.nodeid.partition("[")[0]
        sampled = item.get_closest_marker("sampled")
        left_out = sampled is not None and cases[name] % sampled.args[0] > 0
        cases[name] += 1
        if left_out or item.get_closest_marker("exhaustive"):
            item.add_marker(pytest.mark.skip(reason="takes long: set BENCHBENCH_EXHAUSTIVE=1"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process is left with one at the end; `cuda` needs a device."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    if not EXHAUSTIVE:
        _skip_what_takes_long(items)
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
