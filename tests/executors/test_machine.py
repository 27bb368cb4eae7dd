"""What of this machine a run may use, also within a container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchbench.executors.slots import available_cores, available_memory_bytes, cores_for_workers

ALL = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_without_a_quota_all_cores_are_available(tmp_path: Path) -> None:
    assert available_cores(tmp_path) == ALL
    assert available_cores(write(tmp_path / "2", cpu_DOT_max="max 100000\n")) == ALL
    assert (
        available_cores(write(tmp_path / "1", cpu__cpu_DOT_cfs_quota_us="-1\n", cpu__cpu_DOT_cfs_period_us="100000\n"))
        == ALL
    )


@pytest.mark.parametrize(
    "files",
    [
        {"cpu_DOT_max": "150000 100000\n"},
        {"cpu__cpu_DOT_cfs_quota_us": "150000\n", "cpu__cpu_DOT_cfs_period_us": "100000\n"},
        {"cpu_DOT_max": "50000 100000\n"},  # less than one core is one
    ],
)
def test_quota_of_a_container_counts(tmp_path: Path, files: dict[str, str]) -> None:
    assert available_cores(write(tmp_path, **files)) == 1


@pytest.mark.parametrize(
    ("stated", "cores"), [("1", 1), ("1,2", 1), ("999", ALL), ("", ALL), ("0", ALL), ("many", ALL)]
)
def test_number_of_threads_that_somebody_set_is_the_most_workers(tmp_path: Path, stated: str, cores: int) -> None:
    assert cores_for_workers({"OMP_NUM_THREADS": stated}, tmp_path) == cores
    assert cores_for_workers({}, tmp_path) == ALL


def test_memory_is_what_is_free_within_the_limit_of_the_container(tmp_path: Path) -> None:
    free = tmp_path / "meminfo"
    free.write_text("MemTotal:       24684084 kB\nMemFree:        17394920 kB\nMemAvailable:   20000000 kB\n")
    assert available_memory_bytes(free, tmp_path) == 20_000_000 * 1024
    assert available_memory_bytes(free, write(tmp_path / "a", memory_DOT_max=f"{2**30}\n")) == 2**30
    assert available_memory_bytes(free, write(tmp_path / "b", memory_DOT_max="max\n")) == 20_000_000 * 1024
    first = write(tmp_path / "c", memory__memory_DOT_limit_in_bytes="9223372036854771712\n")
    assert available_memory_bytes(free, first) == 20_000_000 * 1024
    physical = available_memory_bytes(tmp_path / "none", tmp_path)
    assert physical is None or physical > 2**28
