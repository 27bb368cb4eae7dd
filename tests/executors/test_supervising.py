"""What the host of an executor makes of the journals: who is where, whose clock is off, and who died of what."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from run_processes import write_suite

from benchbench.errors import ExecutorError
from benchbench.events import CellFailed, CellStarted, Event, Note, WorkerIdle, WorkerProgress
from benchbench.executors.crew import Commission, Crew
from benchbench.executors.job import Job
from benchbench.executors.journal import Hello, Journal, WorkerTrouble
from benchbench.executors.local import LocalExecutor
from benchbench.executors.supervising import Supervisor
from benchbench.planning.preparing import Prepared, Request, prepare
from benchbench.records.claims import folder_clock_ahead
from benchbench.settings import Folders
from benchbench.stopping import Stopped, StopRequest


@dataclasses.dataclass(kw_only=True)
class Scene:
    """A supervisor, and what it tells."""

    prepared: Prepared
    job: Job
    stop: StopRequest
    heard: list[Event]
    supervisor: Supervisor

    @property
    def said(self) -> str:
        return "\n".join(event.message for event in self.heard if isinstance(event, Note))

    def journal(self, worker: str = "a") -> Journal:
        return Journal(self.job.journals, worker)

    def started(self, number: int) -> CellStarted:
        cell = self.prepared.plan.ready[number]
        return CellStarted(number=1, total=1, cell_id=cell.cell_id, label="label", seconds_left=None)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    write_suite(tmp_path)
    folders = Folders(data=tmp_path, home=tmp_path, runs=tmp_path / "runs", leaderboards=tmp_path / "boards")
    prepared = prepare(Request(suite=str(tmp_path / "tiny.toml"), device="cpu"), folders)
    units: dict[str, tuple[str, ...]] = {}
    for cell in prepared.plan.ready:
        units[cell.training.model_id] = (*units.get(cell.training.model_id, ()), cell.cell_id)
    job = Job(
        folder=tmp_path / "job",
        token="t",
        request=Request(suite="s"),
        folders=folders,
        units=units,
        estimates={},
        before={cell.cell_id: prepared.store.record_times(cell.cell_id) for cell in prepared.plan.ready},
        checkpoints={},
        begun=0.0,
    )
    heard: list[Event] = []
    stop = StopRequest()
    crew = Crew(name="local", executor=LocalExecutor(), workers=2, elsewhere=False)
    supervisor = Supervisor(
        job, Commission(prepared=prepared, crew=crew, listener=heard.append, stop=stop, estimates={})
    )
    return Scene(prepared=prepared, job=job, stop=stop, heard=heard, supervisor=supervisor)


def hello(clock_ahead: float) -> Hello:
    return Hello(host="n1", pid=7, device="cpu", clock_ahead=clock_ahead)


def test_progress_is_told_with_the_number_of_the_worker_and_of_the_cell_in_the_run(scene: Scene) -> None:
    scene.journal("a").write(scene.started(0))
    scene.journal("b").write(scene.started(2))
    scene.supervisor.wait(0.0)
    told = [event for event in scene.heard if isinstance(event, WorkerProgress)]
    assert [(one.worker, one.event.number, one.event.total) for one in told] == [(1, 1, 4), (2, 2, 4)]  # type: ignore[union-attr]


def test_cell_that_is_tried_again_keeps_its_number_and_the_display_hears_that_the_worker_is_gone(scene: Scene) -> None:
    scene.journal("a").write(scene.started(0))
    scene.journal("b").write(scene.started(1))
    scene.supervisor.wait(0.0)
    scene.supervisor.died("a", "killed by SIGKILL")
    scene.journal("a").write(hello(0.0))
    scene.journal("a").write(scene.started(0))
    scene.supervisor.wait(0.0)
    told = [event for event in scene.heard if isinstance(event, (WorkerProgress, WorkerIdle))]
    assert [one.event.number for one in told if isinstance(one, WorkerProgress)] == [1, 2, 1]  # type: ignore[union-attr]
    assert [one for one in told if isinstance(one, WorkerIdle)] == [WorkerIdle(worker=1, gone=True)]


@pytest.mark.parametrize(
    ("ahead", "message"),
    [(300.0, "the clock of n1 is 300 s ahead of that of the shared folder"), (-60.0, "60 s behind that"), (2.0, "")],
)
def test_clock_that_differs_from_the_folders_is_told(scene: Scene, ahead: float, message: str) -> None:
    for worker in ("1", "2"):
        scene.journal(worker).write(hello(ahead))
    scene.supervisor.wait(0.0)
    assert message in scene.said
    assert scene.said.count("the clock of") == bool(message)  # once for a machine with several workers


def test_difference_of_clocks_is_measured_at_the_folder(tmp_path: Path) -> None:
    now: Callable[[], float] = lambda: 1_000.0 + folder_time(tmp_path)  # noqa: E731
    assert folder_clock_ahead(tmp_path, now) == pytest.approx(-1_000.0, abs=30.0)
    assert abs(folder_clock_ahead(tmp_path)) < 30.0


def folder_time(folder: Path) -> float:
    (folder / "probe").write_text("x")
    return (folder / "probe").stat().st_mtime


def test_cell_is_tried_again_once_and_then_recorded_as_failed(scene: Scene) -> None:
    for _ in range(2):
        assert len(scene.supervisor.left()) == 2
        scene.journal().write(scene.started(0))
        scene.supervisor.died("a", "killed by SIGKILL")
    assert "the cell is tried again" in scene.said
    (failure,) = [event for event in scene.heard if isinstance(event, CellFailed)]
    assert failure.cell_id == scene.prepared.plan.ready[0].cell_id
    assert "the last was killed by SIGKILL" in failure.error
    tally = scene.supervisor.tally()
    assert (len(tally.failures), len(tally.left)) == (1, 3)


def test_workers_that_die_before_they_begin_end_the_run(scene: Scene) -> None:
    scene.supervisor.died("a", "killed by SIGKILL")
    scene.supervisor.died("b", "killed by SIGKILL")
    with pytest.raises(ExecutorError, match="3 workers in a row ended before they began a cell"):
        scene.supervisor.died("a", "killed by SIGKILL")


def test_deaths_in_between_do_not_add_up(scene: Scene) -> None:
    for number in range(4):
        scene.supervisor.died("a", "killed by SIGKILL")
        scene.journal().write(scene.started(number))
        scene.supervisor.wait(0.0)
        scene.journal().write(hello(0.0))  # a new process: the old one is nowhere
        scene.supervisor.wait(0.0)


def test_trouble_of_a_worker_ends_the_run_with_its_words(scene: Scene) -> None:
    scene.journal().write(WorkerTrouble(message="no space left on the disk", hint="free some"))
    with pytest.raises(ExecutorError, match="no space left on the disk") as caught:
        scene.supervisor.wait(0.0)
    assert caught.value.hint == "free some"


def test_wait_ends_when_it_is_time_to_stop(scene: Scene) -> None:
    scene.stop.request("enough")
    with pytest.raises(Stopped, match="enough"):
        scene.supervisor.wait(60.0)
