"""What of this machine a run may use, also in a container, and what each worker: cores divided, GPUs pinned or shared."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch

from benchbench.contract import UsageError, Work, WorkUnit
from benchbench.executors import local
from benchbench.executors.local import LocalExecutor
from benchbench.executors.slots import (
    GIB,
    Gpu,
    Slot,
    available_cores,
    available_memory_bytes,
    cores_for_workers,
    cpu_slots,
    gpu_slots,
    visible_gpus,
)
from benchbench.testing import ToyHost

TWO = (Gpu(name="0", memory_bytes=80 * GIB), Gpu(name="1", memory_bytes=40 * GIB))


@pytest.mark.parametrize(("workers", "cores", "threads"), [(2, 8, 4), (3, 8, 2), (8, 4, 1)])
def test_cores_are_divided_among_workers(workers: int, cores: int, threads: int) -> None:
    assert cpu_slots(workers, threads=None, cores=cores) == (Slot(threads=threads),) * workers


def test_stated_threads_are_kept() -> None:
    assert cpu_slots(2, threads=3, cores=64) == (Slot(threads=3),) * 2


def test_each_worker_has_a_gpu_of_its_own() -> None:
    slots = gpu_slots(None, gpus=TWO, need_bytes=None, threads=None, cores=8)
    assert [(slot.gpu, slot.threads) for slot in slots] == [("0", 4), ("1", 4)]


def test_workers_share_a_gpu_as_far_as_its_memory_goes() -> None:
    slots = gpu_slots(5, gpus=TWO, need_bytes=18 * GIB, threads=1, cores=8)
    assert [slot.gpu for slot in slots] == ["0", "1", "0", "1", "0"]
    assert [s.gpu for s in gpu_slots(6, gpus=TWO, need_bytes=18 * GIB, threads=1, cores=8)].count("1") == 2


@pytest.mark.parametrize(
    ("workers", "gpus", "need", "message"),
    [
        (3, TWO, None, "3 workers need as many slots, there are 2: 1 on 0 \\(80 GiB\\), 1 on 1 \\(40 GiB\\)"),
        (7, TWO, 18 * GIB, "there are 6: 4 on 0"),
        (1, TWO, 100 * GIB, "there are 0"),
        (1, (), None, "there is no GPU"),
    ],
)
def test_too_many_workers_are_refused(workers: int, gpus: tuple[Gpu, ...], need: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        gpu_slots(workers, gpus=gpus, need_bytes=need, threads=None, cores=8)
    assert caught.value.hint


def test_environment_pins_gpu_and_threads() -> None:
    environment = Slot(threads=2, gpu="GPU-abc").environment({"HOME": "/root", "CUDA_VISIBLE_DEVICES": "0,1"})
    assert (environment["CUDA_VISIBLE_DEVICES"], environment["OMP_NUM_THREADS"]) == ("GPU-abc", "2")
    assert environment["HOME"] == "/root"
    assert "CUDA_VISIBLE_DEVICES" not in Slot(threads=1).environment({})


def work(*memory: int | None, workers: int | None = None) -> Work:
    units = tuple(
        WorkUnit(name=str(number), label="", defense="at", cells=1, memory_bytes=need)
        for number, need in enumerate(memory)
    )
    return Work(name="w", folder=None, token="", units=units, workers=workers, device="cuda", program=())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "memory", "slots"),
    [
        ({}, (4 * GIB, 18 * GIB, None), 2),  # no prediction for one: one worker on each GPU
        ({"gpu_memory_gb": 5.0}, (None,) * 30, 22),
    ],
)
def test_need_is_stated_or_predicted(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, float], memory: tuple[int | None, ...], slots: int
) -> None:
    monkeypatch.setattr(local, "visible_gpus", lambda: TWO)
    executor = LocalExecutor(**options)  # type: ignore[arg-type]
    assert len(executor.slots(work(*memory, workers=min(slots, len(memory))))) == slots
    with pytest.raises(UsageError):
        executor.slots(work(*memory, workers=slots + 1))


def test_there_are_no_more_workers_than_cells() -> None:
    units = (WorkUnit(name="a", label="", defense="at", cells=2),)
    asked = Work(name="w", folder=None, token="", units=units, workers=8, device="cpu", program=())  # type: ignore[arg-type]
    assert len(LocalExecutor().slots(asked)) == 2


REPORT = """
import json, os, pathlib, sys
worker = sys.argv[sys.argv.index("--worker") + 1]
names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
pathlib.Path(sys.argv[1], worker).write_text(json.dumps([os.environ.get(name) for name in names]))
pathlib.Path(sys.argv[1]).with_name("done").joinpath("unit").touch()
"""
CARDS = ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-5f2b0e3a-1f0b-4a53-9e55-6b9c1f6f6a01")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs with 80 GiB free, as torch would find them."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (80 * GIB, 80 * GIB))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("benchbench.executors.local.visible_gpus", lambda: visible_gpus())


def seen(
    folder: Path, executor: LocalExecutor, workers: int | None, memory_bytes: int | None = None
) -> list[list[str | None]]:
    """CUDA_VISIBLE_DEVICES and OMP_NUM_THREADS of each worker, in the order of the workers."""
    reports = folder / "reports"
    reports.mkdir(parents=True)
    (folder / "done").mkdir()
    unit = WorkUnit(name="unit", label="", defense="at", cells=20, memory_bytes=memory_bytes)
    program = (sys.executable, "-c", REPORT, str(reports))
    work = Work(name="w", folder=folder, token="", units=(unit,), workers=workers, device="cuda", program=program)
    executor.execute(work, ToyHost(folder, ("unit",)))
    return [json.loads(path.read_text()) for path in sorted(reports.iterdir(), key=lambda path: int(path.name))]


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("inherited", "pinned"),
    [
        (None, ["0", "1"]),
        ("2,3", ["2", "3"]),
        ("3, 2,", ["3", "2"]),
        (",".join(CARDS), [*CARDS]),
        ("MIG-1,MIG-2", ["MIG-1", "MIG-2"]),
        ("5,4,-1,0", ["5", "4"]),  # CUDA stops at the first that is no device
    ],
)
def test_each_worker_sees_one_of_the_gpus_that_the_user_left_to_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inherited: str | None, pinned: list[str]
) -> None:
    if inherited is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", inherited)
    assert seen(tmp_path, LocalExecutor(threads=3), None) == [[name, "3"] for name in pinned]


@pytest.mark.usefixtures("gpus")
def test_several_workers_share_each_gpu_by_the_memory_that_is_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    found = seen(tmp_path, LocalExecutor(threads=1, gpu_memory_gb=30.0), 4)
    assert [pinned for pinned, _ in found] == ["2", "3", "2", "3"]
    with pytest.raises(UsageError, match=r"5 workers need as many slots, there are 4: 2 on 2 .*, 2 on 3 "):
        seen(tmp_path / "more", LocalExecutor(threads=1, gpu_memory_gb=30.0), 5)


@pytest.mark.usefixtures("gpus")
def test_several_workers_share_each_gpu_by_the_memory_that_is_predicted(tmp_path: Path) -> None:
    found = seen(tmp_path, LocalExecutor(threads=1), 6, memory_bytes=16 * GIB)  # 24 of 76 GiB each
    assert [pinned for pinned, _ in found] == ["0", "1"] * 3


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
