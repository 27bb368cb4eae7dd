"""What each worker may use: cores divided, GPUs pinned, as many workers on one as its memory allows."""

from __future__ import annotations

import pytest

from benchbench.contract import UsageError, Work, WorkUnit
from benchbench.executors import local
from benchbench.executors.local import LocalExecutor
from benchbench.executors.slots import GIB, Gpu, Slot, cpu_slots, gpu_slots

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
