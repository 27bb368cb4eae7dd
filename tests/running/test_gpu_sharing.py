"""How many workers share GPUs by default: by memory that is measured, here on made-up GPUs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_processes import write_suite

from benchbench.executors.local import LocalExecutor
from benchbench.executors.slots import GIB, PROCESS_BYTES, Gpu
from benchbench.planning import CellPrice
from benchbench.planning.preparing import Prepared, Request, prepare
from benchbench.running import staffing
from benchbench.running.staffing import GUESSED, ROOM, choose_staff, share_gpus
from benchbench.settings import find_folders

Machine = Callable[..., None]


@pytest.fixture
def planned(tmp_path: Path) -> Prepared:
    """Six models to compute on CUDA, each predicted to take 1 GiB and much time."""
    write_suite(tmp_path, seeds=[0, 1, 2])
    made = prepare(Request(suite=str(tmp_path / "tiny.toml"), device="cpu"), find_folders(runs=tmp_path / "runs"))
    price = CellPrice(train_seconds=1000.0, evaluate_seconds=0.0, memory_bytes=GIB, origin="timed")
    cells = tuple(dataclasses.replace(p, price=price, estimate_seconds=1000.0) for p in made.plan.cells)
    plan = dataclasses.replace(made.plan, cells=cells)
    return dataclasses.replace(made, plan=plan, named_device=torch.device("cuda"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Lay down cores, the free GiB of each GPU, and what trying a model finds: bytes, None or an exception."""

    def laid(*free: float, cores: int = 64, measured: Any = None) -> None:
        gpus = tuple(Gpu(name=str(number), memory_bytes=int(size * GIB)) for number, size in enumerate(free))
        monkeypatch.setattr(staffing, "visible_gpus", lambda: gpus)
        monkeypatch.setattr("benchbench.executors.local.visible_gpus", lambda: gpus)
        monkeypatch.setattr(staffing, "_measure", lambda cell, prepared: measured)
        monkeypatch.setattr(staffing, "available_cores", lambda: cores)
        monkeypatch.setattr(staffing, "available_memory_bytes", lambda: 2**40)

    return laid


def test_workers_share_a_gpu_as_far_as_measured_memory_goes(planned: Prepared, machine: Machine) -> None:
    machine(20.0, measured=3 * GIB)
    share = share_gpus(planned)
    assert share.need_bytes == int(ROOM * 3 * GIB) + PROCESS_BYTES  # 4.6 GiB, of 19
    assert (share.workers, share.measured) == (4, True)
    machine(20.0, 10.0, measured=3 * GIB)
    assert share_gpus(planned).workers == 6


def test_a_model_that_cannot_be_tried_counts_by_its_prediction(planned: Prepared, machine: Machine) -> None:
    machine(20.0)
    share = share_gpus(planned)
    assert (share.need_bytes, share.measured) == (int(GUESSED * GIB) + PROCESS_BYTES, False)


def test_nothing_more_is_tried_after_a_while(
    planned: Prepared, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(20.0, measured=0)
    monkeypatch.setattr(staffing, "PROBE_SECONDS", -1.0)
    assert not share_gpus(planned).measured


@pytest.mark.parametrize(("free", "workers"), [((80.0,), 1), ((80.0, 80.0), 2)])
def test_a_large_model_has_a_gpu_to_itself(
    free: tuple[float, ...], workers: int, planned: Prepared, machine: Machine
) -> None:
    machine(*free, measured=75 * GIB)
    crew = choose_staff(planned).crew
    assert (1 if crew is None else crew.workers) == workers


def test_the_choice_is_said_with_its_figures_and_fits_the_slots(planned: Prepared, machine: Machine) -> None:
    machine(20.0, measured=3 * GIB)
    staff = choose_staff(planned)
    assert staff.reason.startswith("4 workers of one thread each share the GPU, 4.6 GiB each (measured): ")
    assert "their memory has room for 4" in staff.reason
    assert staff.crew is not None
    executor: Any = staff.crew.executor
    assert isinstance(executor, LocalExecutor)
    machine(19.0, measured=3 * GIB)  # others took a little meanwhile
    assert executor._gpu_memory_gb * 4 < 0.95 * 19.0


def test_cores_bound_the_workers_of_a_gpu(planned: Prepared, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of no matter to a GPU
    machine(80.0, cores=3, measured=GIB)
    staff = choose_staff(planned)
    assert (staff.crew and staff.crew.workers, "there are 3 cores" in staff.reason) == (3, True)
    machine(80.0, 80.0, cores=64, measured=GIB)
    assert choose_staff(planned).reason.startswith(
        "6 workers of one thread each share 2 GPUs, 2.2 GiB each (measured): "
    )


def test_trying_a_model_measures_what_it_takes(planned: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, where the figures are made up: the step of training and the batch of an evaluation are taken."""
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 100)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: 1100)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1, 80 * GIB))
    monkeypatch.setattr(torch.random, "fork_rng", lambda **_: __import__("contextlib").nullcontext())
    here = dataclasses.replace(planned, named_device=torch.device("cpu"))
    cell = here.plan.ready[0]
    data = 64 * (64 + 32)  # bytes of the images that stay on the device
    assert (
        staffing._measure(cell, here)
        == 1000 + data * here.plan.datasets.splits(cell.training.dataset).train.inputs.element_size()
    )

    def short(*_: object) -> None:
        taken.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(staffing, "_try", short)
    assert (staffing._measure(cell, here), taken) == (80 * GIB, [1])
