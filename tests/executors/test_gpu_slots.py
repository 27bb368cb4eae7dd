"""What worker processes see of the GPUs: real processes and their environment; the GPUs themselves are made up."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from run_processes import write_suite

import benchbench
from benchbench.contract import UsageError, Work, WorkUnit
from benchbench.executors.local import LocalExecutor
from benchbench.executors.slots import GIB, visible_gpus
from benchbench.testing import ToyHost

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


def test_one_gpu_by_number_is_no_device_for_workers(tmp_path: Path) -> None:
    write_suite(tmp_path)
    with pytest.raises(UsageError, match="--device cuda:1 is one GPU, and workers have one each") as caught:
        benchbench.run(str(tmp_path / "tiny.toml"), device="cuda:1", runs=tmp_path / "runs", jobs=2)
    assert "CUDA_VISIBLE_DEVICES" in caught.value.hint
