"""Who computes a run that leaves it to benchbench, on made-up GPUs too, and that the rows do not depend on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from run_processes import results, run, write_suite

from benchbench.errors import UsageError
from benchbench.events import Event, Note, RunStarted, WorkerProgress
from benchbench.executors import slots
from benchbench.executors.local import LocalExecutor
from benchbench.executors.slots import GIB, PROCESS_BYTES, Gpu
from benchbench.planning import CellPrice
from benchbench.planning.preparing import Prepared, Request, prepare
from benchbench.running import staffing
from benchbench.running.staffing import GUESSED, ROOM, choose_staff, is_divided, share_gpus
from benchbench.settings import find_folders

SMALL: dict[str, Any] = {"defenses": ["natural"], "attacks": ["pgd-10"], "seeds": [0, 1], "epochs": 1}


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What torch would take by itself, on a machine of so many cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(staffing, "cores_for_workers", lambda: 4)
    monkeypatch.setattr(staffing, "available_memory_bytes", lambda: 2**40)
    yield
    torch.set_num_threads(before)


def prepared(folder: Path, *, seconds: float | None, memory_bytes: int = 0, **changes: Any) -> Prepared:
    """The suite planned, at a price for each cell."""
    made = prepare(
        Request(suite=str(folder / "tiny.toml"), device="cpu", **changes), find_folders(runs=folder / "runs")
    )
    price = CellPrice(train_seconds=seconds or 0.0, evaluate_seconds=0.0, memory_bytes=memory_bytes, origin="timed")
    cells = tuple(
        dataclasses.replace(p, price=price, estimate_seconds=seconds) if p.status == "ready" else p
        for p in made.plan.cells
    )
    return dataclasses.replace(made, plan=dataclasses.replace(made.plan, cells=cells))


def workers(made: Prepared) -> int:
    crew = choose_staff(made).crew
    return 1 if crew is None else crew.workers or 0


def test_there_are_as_many_workers_as_cores_models_memory_and_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(tmp_path, seeds=[0, 1, 2])  # 6 models of 2 cells each
    long = prepared(tmp_path, seconds=1000.0)
    assert (workers(long), choose_staff(long).reason.partition(";")[0]) == (
        4,
        "4 workers of one thread each: there are 4 cores",
    )
    monkeypatch.setattr(staffing, "cores_for_workers", lambda: 64)
    assert workers(long) == 6
    assert workers(prepared(tmp_path, seconds=5.0)) == 4  # 60 s of work
    assert workers(prepared(tmp_path, seconds=1.0)) == 1
    monkeypatch.setattr(staffing, "available_memory_bytes", lambda: 16 * 2**30)
    large = prepared(tmp_path, seconds=1000.0, memory_bytes=3 * 2**30)
    assert (workers(large), "memory that is free has room for 2" in choose_staff(large).reason) == (2, True)
    assert 1.5 * 3 * (3 * 2**30 + PROCESS_BYTES) > 16 * 2**30
    monkeypatch.setattr(staffing, "available_memory_bytes", lambda: None)
    assert workers(large) == 6


def test_work_of_unknown_length_is_not_taken_for_none(tmp_path: Path) -> None:
    write_suite(tmp_path, seeds=[0, 1, 2])
    unknown = prepared(tmp_path, seconds=None)
    assert (workers(unknown), "of work" in choose_staff(unknown).reason) == (4, False)


@pytest.mark.parametrize(("cores", "why"), [(1, "there is one core"), (2, "OMP_NUM_THREADS is 1")])
def test_one_core_is_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, why: str) -> None:
    write_suite(tmp_path)
    monkeypatch.setattr(staffing, "available_cores", lambda: cores)
    monkeypatch.setattr(staffing, "cores_for_workers", lambda: 1)
    staff = choose_staff(prepared(tmp_path, seconds=1000.0))
    assert staff.crew is None
    assert staff.reason == f"one thread, in this process: {why}"
    monkeypatch.setattr(staffing, "cores_for_workers", lambda: 2)
    assert choose_staff(prepared(tmp_path, seconds=1.0)).reason.endswith("; --jobs 1 would use all threads")


def test_threads_of_a_model_depend_on_the_selection_alone(tmp_path: Path) -> None:
    write_suite(tmp_path, **SMALL)
    assert is_divided(prepared(tmp_path, seconds=0.0))
    assert not is_divided(prepared(tmp_path, seconds=0.0, seeds=(1,)))
    run(tmp_path, seeds=[1])
    assert is_divided(prepared(tmp_path, seconds=0.0))  # though one model is left to compute
    several = prepared(tmp_path, seconds=0.0)
    assert is_divided(dataclasses.replace(several, named_device=torch.device("cuda")))
    assert not is_divided(
        dataclasses.replace(several, named_device=torch.device("cuda:0"))
    )  # one GPU, for this process alone


@pytest.mark.exhaustive  # starts workers
def test_rows_do_not_depend_on_who_computes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, several = tmp_path / "one", tmp_path / "several"
    for folder in (one, several):
        write_suite(folder)
    here: list[Event] = []
    run(one, here.append, jobs="auto")
    assert torch.get_num_threads() == 2
    monkeypatch.setattr(staffing, "WORTH_SECONDS", 1e-6)
    there: list[Event] = []
    result = run(several, there.append, jobs="auto")
    assert (result.finished, result.failed, result.left) == (4, 0, 0)
    assert not [event for event in here if isinstance(event, WorkerProgress)]
    assert {event.worker for event in there if isinstance(event, WorkerProgress)} == {1, 2}
    assert results(one) == results(several)
    assert all(row.device.endswith(", 1 threads)") for row in result.rows)


def test_first_lines_say_what_was_chosen(tmp_path: Path) -> None:
    write_suite(tmp_path)
    heard: list[Event] = []
    run(tmp_path, heard.append, jobs="auto", only=["attack=pgd-10"])
    assert isinstance(heard[0], RunStarted)
    assert heard[0].device.endswith(", 1 threads)")
    assert isinstance(heard[1], Note)
    assert heard[1].message.startswith("one thread, in this process: there are about ")


def test_one_model_gets_all_threads_and_so_does_a_run_from_python(tmp_path: Path) -> None:
    write_suite(tmp_path, **SMALL)
    (row,) = run(tmp_path, jobs="auto", seeds=[1]).rows
    assert row.device.endswith(", 2 threads)")
    assert all(row.device.endswith(", 2 threads)") for row in run(tmp_path).rows)


def test_number_of_jobs_that_is_none_is_refused(tmp_path: Path) -> None:
    write_suite(tmp_path)
    with pytest.raises(UsageError, match="jobs: expected an integer or 'auto' or None, got 'atuo'"):
        run(tmp_path, jobs="atuo")


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
        monkeypatch.setattr(staffing, "cores_for_workers", slots.cores_for_workers)  # which OMP_NUM_THREADS bounds
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
