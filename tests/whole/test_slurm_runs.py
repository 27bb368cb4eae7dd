"""A suite through a real Slurm: the same rows as one process, whatever Slurm does to the jobs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_processes import lines, rows, run, wait_for, write_suite
from slurm_cluster import Cluster, cluster, why_not

from benchbench.errors import BenchbenchError, ExecutorError, UsageError
from benchbench.events import CellFinished, Event, Note, TrainingProgress, WorkerProgress
from benchbench.kernels.determinism import on_threads

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]
SLURM: dict[str, Any] = {"name": "slurm", "poll_seconds": 0.5, "minutes": 30, "memory_gb": 1.0}
LONG = {"attacks": ["pgd-10"], "defenses": ["natural"], "epochs": 400}  # some seconds; a checkpoint at each epoch


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of one node."""
    with cluster(tmp_path_factory.mktemp("slurm") / "cluster") as started, pytest.MonkeyPatch.context() as patch:
        for name, value in started.environment.items():
            patch.setenv(name, value)
        yield started


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Rows are bit-identical for the same number of threads."""
    with on_threads(1):
        yield


def in_one_process(folder: Path, **entries: Any) -> list[Any]:
    write_suite(folder, **entries)
    run(folder)
    return rows(folder)


def messages(heard: list[Event]) -> str:
    return "\n".join(event.message for event in heard if isinstance(event, Note))


def trains(heard: list[Event]) -> bool:
    return any(isinstance(event, WorkerProgress) and isinstance(event.event, TrainingProgress) for event in heard)


def worker_pids(heard: list[Event]) -> list[int]:
    said = [event.message for event in heard if isinstance(event, Note)]
    return [int(text.split()[3]) for text in said if text.startswith("worker ") and ": process " in text]


@pytest.mark.exhaustive
def test_killed_job_costs_no_row(slurm: Cluster, tmp_path: Path) -> None:
    expected = in_one_process(tmp_path / "one", seeds=[0, 1], epochs=30)
    write_suite(tmp_path / "slurm", seeds=[0, 1], epochs=30)
    heard: list[Event] = []
    killed: list[int] = []

    def kill_the_first(event: Event) -> None:
        heard.append(event)
        if trains(heard) and not killed:
            killed.append(worker_pids(heard)[0])
            os.kill(killed[0], signal.SIGKILL)

    result = run(tmp_path / "slurm", kill_the_first, executor=SLURM)
    assert killed
    assert (result.failed, result.left) == (0, 0)
    assert rows(tmp_path / "slurm") == expected
    assert "submitted 2 jobs (at) to Slurm" in messages(heard)
    assert "ended by Slurm on" in messages(heard)


@pytest.mark.exhaustive
def test_cancelled_job_is_submitted_again_and_goes_on_from_its_checkpoint(slurm: Cluster, tmp_path: Path) -> None:
    write_suite(tmp_path, **LONG)
    heard: list[Event] = []
    cancelled: list[str] = []

    def cancel(event: Event) -> None:
        heard.append(event)
        if trains(heard) and not cancelled:
            cancelled.append(slurm.jobs()[0][0])
            slurm.call("scancel", cancelled[0])

    result = run(tmp_path, cancel, executor=SLURM)
    assert (result.finished, result.left) == (1, 0)
    assert "it was cancelled; another one goes on from its checkpoint" in messages(heard)
    assert resumed(heard)


@pytest.mark.exhaustive
def test_job_is_requeued_before_its_time_is_up(slurm: Cluster, tmp_path: Path) -> None:
    write_suite(tmp_path, **LONG)
    heard: list[Event] = []
    warned: list[str] = []

    def warn(event: Event) -> None:
        heard.append(event)
        if trains(heard) and not warned:
            warned.append(slurm.jobs()[0][0])
            slurm.call("scancel", "--signal=USR1", warned[0])
        if "is back in the queue" in messages(heard) and len(warned) == 1:
            warned.append("released")
            release(slurm, warned[0])

    result = run(tmp_path, warn, executor=SLURM)
    assert (result.finished, result.left) == (1, 0)
    assert "Restarts=1" in slurm.call("scontrol", "show", "job", warned[0])
    assert messages(heard).count("submitted") == 1
    assert resumed(heard)


@pytest.mark.exhaustive  # takes twenty seconds
def test_preempted_job_goes_on_from_its_checkpoint_when_there_is_room_again(slurm: Cluster, tmp_path: Path) -> None:
    write_suite(tmp_path, **LONG)
    heard: list[Event] = []
    jobs: list[str] = []

    def preempt(event: Event) -> None:
        heard.append(event)
        if trains(heard) and not jobs:
            jobs.append(slurm.jobs()[0][0])
            urgent = ("--partition", "urgent", "--exclusive", "--wrap", "sleep 2", "--output", "/dev/null")
            jobs.append(slurm.call("sbatch", "--parsable", *urgent).strip())
        if "is back in the queue" in messages(heard) and len(jobs) == 2:
            wait_for(lambda: jobs[1] not in [job for job, _ in slurm.jobs()])
            release(slurm, jobs[0])
            jobs.append("released")

    result = run(tmp_path, preempt, executor=SLURM)
    assert len(jobs) == 3
    assert (result.finished, result.left) == (1, 0)
    assert "Restarts=1" in slurm.call("scontrol", "show", "job", jobs[0])
    assert messages(heard).count("submitted") == 1
    assert resumed(heard)


@pytest.mark.exhaustive  # waits for a minute to be up
def test_job_whose_time_is_up_goes_on_from_its_checkpoint(slurm: Cluster, tmp_path: Path) -> None:
    write_suite(tmp_path, **{**LONG, "epochs": 20_000})
    heard: list[Event] = []
    jobs: list[str] = []

    def wait_no_longer(event: Event) -> None:
        heard.append(event)
        if trains(heard) and not jobs:
            jobs.append(slurm.jobs()[0][0])
        if messages(heard).count("is back in the queue") == len(jobs) == 1:
            release(slurm, jobs[0])
            jobs.append("released")
        if resumed(heard):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, wait_no_longer, executor={**SLURM, "minutes": 1})
    assert "its time was up" in messages(heard)
    assert "Restarts=1" in slurm.call("scontrol", "show", "job", jobs[0])
    assert messages(heard).count("submitted") == 1
    slurm.call("scancel", jobs[0])
    wait_for(lambda: not slurm.jobs())


@pytest.mark.exhaustive  # takes twenty seconds
def test_job_of_a_failed_node_goes_on_when_the_node_is_back(slurm: Cluster, tmp_path: Path) -> None:
    write_suite(tmp_path, **LONG)
    heard: list[Event] = []
    job: list[str] = []

    def lose_the_node(event: Event) -> None:
        heard.append(event)
        if trains(heard) and not job:
            job.append(slurm.jobs()[0][0])
            slurm.stop("slurmd", signal.SIGKILL)
            os.kill(worker_pids(heard)[0], signal.SIGKILL)
            slurm.call("scontrol", "update", f"node={node}", "state=down", "reason=test")
        if "is back in the queue" in messages(heard) and "slurmd" not in slurm.daemons:
            slurm.start_node()
            slurm.call("scontrol", "update", f"node={node}", "state=resume")
            wait_for(lambda: "idle" in sinfo(slurm))
            release(slurm, job[0])

    node = slurm.call("sinfo", "-h", "-o", "%n").strip().splitlines()[0]
    result = run(tmp_path, lose_the_node, executor=SLURM)
    assert (result.finished, result.left) == (1, 0)
    assert "its node" in messages(heard)
    assert resumed(heard)


def release(slurm: Cluster, job: str) -> None:
    """Let a requeued job start now, and not in two minutes; before its old step is cleared away, it would fail at once."""
    time.sleep(4.0)
    slurm.call("scontrol", "update", f"job={job}", "StartTime=now")


def resumed(heard: list[Event]) -> bool:
    """Whether training began a second time, and not from the start."""
    begun = [event.event for event in heard if isinstance(event, WorkerProgress)]
    return any(type(event).__name__ == "TrainingStarted" and event.epoch > 0 for event in begun)


def interrupt_when_it_trains(folder: Path, log: Path) -> None:
    """Run in a process of its own, and interrupt it as Ctrl-C does."""

    def tell(event: Event) -> None:
        if isinstance(event, Note):
            with log.open("a") as file:
                file.write(event.message + "\n")
        if isinstance(event, WorkerProgress) and isinstance(event.event, TrainingProgress):
            os.kill(os.getpid(), signal.SIGINT)

    with contextlib.suppress(KeyboardInterrupt):
        run(folder, tell, executor=SLURM)


@pytest.mark.exhaustive
def test_interrupted_run_leaves_its_jobs_and_the_same_command_finds_them(slurm: Cluster, tmp_path: Path) -> None:
    expected = in_one_process(tmp_path / "one", **LONG)
    folder, log = tmp_path / "slurm", tmp_path / "log"
    write_suite(folder, **LONG)
    code = (
        "import pathlib, sys, test_slurm_runs as runs; runs.interrupt_when_it_trains(*map(pathlib.Path, sys.argv[1:]))"
    )
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code, str(folder), str(log)], env=environment, check=True, timeout=300)
    assert any(line.startswith("detached: 1 jobs stay") for line in lines(log))
    before = slurm.jobs()
    assert len(before) == 1
    heard: list[Event] = []
    result = run(folder, heard.append, executor=SLURM)
    assert "attached to 1 job in" in messages(heard)
    assert "submitted" not in messages(heard)
    assert (result.finished, result.left) == (1, 0)
    assert rows(folder) == expected


@pytest.mark.exhaustive  # takes twenty seconds
def test_run_that_was_finished_by_its_jobs_alone_computes_nothing_again(slurm: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "slurm"
    write_suite(folder, **LONG)
    heard: list[Event] = []

    def interrupt(event: Event) -> None:
        heard.append(event)
        if trains(heard):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, interrupt, executor=SLURM)
    wait_for(lambda: not slurm.jobs())
    result = run(folder, executor=SLURM)
    assert (result.finished, len(result.rows), result.rows[0].status) == (0, 1, "ok")


@pytest.mark.exhaustive  # takes twenty seconds
def test_fresh_run_computes_again_but_not_what_its_own_jobs_have_finished(slurm: Cluster, tmp_path: Path) -> None:
    write_suite(tmp_path, **{**LONG, "seeds": [0, 1], "epochs": 40})
    run(tmp_path)
    old = record_times(tmp_path)
    heard: list[Event] = []

    def interrupt(event: Event) -> None:
        heard.append(event)
        if isinstance(event, CellFinished):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, interrupt, executor=SLURM, jobs=1, fresh=True)
    middle = record_times(tmp_path)
    mine = [name for name in old if middle[name] != old[name]]
    assert len(mine) >= 1
    again: list[Event] = []
    result = run(tmp_path, again.append, executor=SLURM, jobs=1, fresh=True)
    assert (result.finished, result.failed, result.left) == (2, 0, 0)
    assert "going on with the fresh run" in messages(again)
    assert "submitted" not in messages(again)
    end = record_times(tmp_path)
    assert all(end[name] == middle[name] for name in mine)
    assert all(end[name] != old[name] for name in old)


def record_times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("runs/cells/*.json")}


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"partition": "mian"}, "no partition 'mian'", "did you mean 'main'"),
        ({"partition": "closed"}, "takes no jobs: it is down", "choose another"),
        ({"minutes": 6000}, "longer than the partition allows", "fewer minutes"),
        ({"memory_gb": 9999.0}, "no node of the partition has enough memory", "state less"),
        ({"threads": 99}, "Slurm will never start job", "threads, or another partition"),
    ],
)
def test_refusal_says_what_is_wrong(
    slurm: Cluster, tmp_path: Path, options: dict[str, Any], message: str, hint: str
) -> None:
    write_suite(tmp_path, **LONG)
    with pytest.raises(UsageError, match=message) as caught:
        run(tmp_path, executor={**SLURM, **options})
    assert hint in caught.value.hint
    assert slurm.jobs() == []


def test_missing_slurm_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_suite(tmp_path, **LONG)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no Slurm here: sbatch is not on the PATH"):
        run(tmp_path, executor=SLURM)


@pytest.mark.exhaustive
def test_controller_that_does_not_answer_is_told(slurm: Cluster, tmp_path: Path) -> None:
    write_suite(tmp_path, **LONG)
    slurm.stop("slurmctld")
    try:
        with pytest.raises(ExecutorError, match=r"sinfo: .*nable to contact slurm controller"):
            run(tmp_path, executor=SLURM)
    finally:
        slurm.start("slurmctld", "-D")
        wait_for(lambda: "idle" in sinfo(slurm))


def sinfo(slurm: Cluster) -> str:
    with contextlib.suppress(subprocess.SubprocessError):
        return slurm.call("sinfo", "-h", "-p", "main", "-o", "%T")
    return ""


@pytest.mark.exhaustive
def test_full_queue_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_suite(tmp_path / "suite", **LONG)
    with cluster(tmp_path / "cluster", max_jobs=2) as full:
        full.call("sbatch", "--wrap", "sleep 600", "--output", "/dev/null")
        for name, value in full.environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UsageError, match="the queue is full"):
            run(tmp_path / "suite", executor=SLURM)


@pytest.mark.exhaustive
@pytest.mark.skipif(
    os.geteuid() != 0
    or bool(subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode),
    reason="no mount namespaces here",
)
def test_folder_that_nodes_do_not_see_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "suite"
    write_suite(folder, **LONG)
    (folder / "runs").mkdir()
    with cluster(tmp_path / "cluster", hidden=folder / "runs") as apart:
        for name, value in apart.environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(BenchbenchError, match=r"is not shared: job 1 on .* does not see") as caught:
            run(folder, executor=SLURM)
    assert "--runs" in caught.value.hint
