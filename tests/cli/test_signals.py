"""``benchbench run`` under signals and budgets, in separate processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli.conftest import Command, WriteSuite

from benchbench.cli.signals import requeue, stop_signals
from benchbench.contract import NOT_SHARED
from benchbench.stopping import Stopped, StopRequest

PROMISED_SECONDS = 5.0
ENDLESS = 10**9
WORK = {  # each of which would take for ever
    "a step of training": {"defenses": [{"name": "at", "steps": ENDLESS}]},
    "a batch of an attack": {"attacks": [{"name": "mt", "steps": ENDLESS}]},
    "a search for the Lipschitzness": {"metrics": [{"name": "lipschitz", "steps": ENDLESS}]},
    "a convex solve": {
        "dataset": {"name": "staircase", "n_train": 100_000, "n_test": 100},
        "architectures": ["cubic-spline"],
        "defenses": [{"name": "rst", "lam": 2.0}],
        "attacks": ["exact"],
        "metrics": ["squared-error"],
        "recipe": {"optimizer": "none"},
    },
}


USUAL, RARE = list(WORK)[:2], list(WORK)[2:]


def write_long_suite(folder: Path, changes: dict[str, object]) -> Path:
    """A suite of one cell."""
    entries: dict[str, object] = {
        "name": "one",
        "dataset": {"name": "digits", "scale": 1},
        "architectures": ["mlp"],
        "defenses": ["natural"],
        "attacks": [{"name": "pgd", "steps": 1}],
        "metrics": ["accuracy"],
        "threat": {"norm": "linf", "epsilon": 0.1},
        "recipe": {"learning_rate": 0.001, "epochs": 1},
        **changes,
    }
    lines = ['name = "long"', 'protocol = "long-1"', "[[experiments]]"]
    lines += [f"{key} = {toml(value)}" for key, value in entries.items()]
    path = folder / "long.toml"
    path.write_text("\n".join(lines))
    return path


def toml(value: object) -> str:
    """A value as TOML writes it; JSON writes tables otherwise."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def promised_seconds() -> float:
    """What is promised, on a machine that has more to do than cores to do it with as many times that."""
    return PROMISED_SECONDS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def begin(folder: Path, suite: Path, **environment: str) -> subprocess.Popen[str]:
    """Start a run and wait until its first cell begins."""
    program = [sys.executable, "-m", "benchbench", "run", "--suite", str(suite), "--device", "cpu", "--json"]
    child = subprocess.Popen(
        program,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert child.stderr is not None
    while "[1/" not in child.stderr.readline():
        assert child.poll() is None
    return child


def measures(document: dict[str, list[dict[str, object]]]) -> list[dict[str, object]]:
    """Rows without how long they took."""
    dropped = {"train_seconds", "evaluate_seconds", "peak_memory_bytes", "git_commit", "versions", "device"}
    return [{key: value for key, value in row.items() if key not in dropped} for row in document["rows"]]


def test_terminated_run_writes_a_checkpoint_exits_with_1_and_goes_on_later(
    command: Command, write_suite: WriteSuite, tmp_path: Path
) -> None:
    suite = write_suite(defenses=["natural", "at"], epochs=40)
    models = Path(os.environ["BENCHBENCH_HOME"]) / "runs" / "models"
    with begin(tmp_path, suite) as child:
        while not list(models.glob("*.safetensors")):
            assert child.poll() is None
        sent = time.monotonic()
        child.terminate()
        out, err = child.communicate(timeout=60)
    assert time.monotonic() - sent < promised_seconds()
    assert child.returncode == 1
    document = json.loads(out)
    assert (document["stopped"], document["left"]) == ("SIGTERM", 2 - document["finished"])
    assert f"SIGTERM: {document['left']} cells left, the same command goes on from here" in err
    rest = command("run", "--suite", suite, "--device", "cpu", "--json")
    assert (rest.status, rest.document["finished"], rest.document["left"]) == (0, document["left"], 0)
    folders = ("--runs", tmp_path / "other-runs", "--leaderboards", tmp_path / "other")
    alone = command("run", "--suite", suite, "--device", "cpu", "--json", *folders)
    assert measures(rest.document) == measures(alone.document)


@pytest.mark.slow
@pytest.mark.parametrize("work", [*USUAL, *(pytest.param(work, marks=pytest.mark.exhaustive) for work in RARE)])
@pytest.mark.sampled(2)
def test_terminated_run_exits_in_time_in_the_middle_of(work: str, tmp_path: Path) -> None:
    suite = write_long_suite(tmp_path, WORK[work])
    with begin(tmp_path, suite) as child:
        time.sleep(1.0)  # to be in the middle of it
        sent = time.monotonic()
        child.terminate()
        _, err = child.communicate(timeout=60)
    assert time.monotonic() - sent < promised_seconds()
    assert child.returncode == 1
    assert "SIGTERM" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("delay", [0.3, 0.8, 1.5, 2.5])
@pytest.mark.sampled(3)
def test_run_that_is_terminated_while_it_starts_exits_in_time_too(tmp_path: Path, delay: float) -> None:
    suite = write_long_suite(tmp_path, WORK["a step of training"])
    program = [sys.executable, "-m", "benchbench", "run", "--suite", str(suite), "--device", "cpu", "--json"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as child:
        time.sleep(delay)
        sent = time.monotonic()
        child.terminate()
        _, err = child.communicate(timeout=60)
    assert time.monotonic() - sent < promised_seconds()
    assert child.returncode in (1, -signal.SIGTERM)  # the latter before Python has read the first module
    assert child.returncode == 1 or delay < 1.0
    assert "Traceback" not in err


@pytest.mark.exhaustive  # a run that is stopped and goes on
def test_user_signal_under_slurm_requeues_the_job(write_suite: WriteSuite, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    scontrol = programs / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n')
    scontrol.chmod(0o755)
    suite = write_suite(defenses=["natural", "at"], epochs=300)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    with begin(tmp_path, suite, SLURM_JOB_ID="1234", PATH=path) as child:
        child.send_signal(signal.SIGUSR1)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "job 1234 is requeued" in err
    assert (tmp_path / "arguments").read_text() == "requeue 1234\n"


@pytest.mark.parametrize("job", ["", "1; rm -rf /", "--help"])
def test_strange_job_id_is_not_handed_to_slurm(job: str) -> None:
    assert "not requeued" in requeue({"SLURM_JOB_ID": job})


def test_requeueing_without_slurm_or_against_its_will_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "not requeued" in requeue({"SLURM_JOB_ID": "12"})
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho 'batch job is not\n requeueable' >&2\nexit 3\n")
    (tmp_path / "scontrol").chmod(0o755)
    assert requeue({"SLURM_JOB_ID": "12"}) == "not requeued: batch job is not requeueable"


def test_work_that_finds_no_safe_moment_is_interrupted() -> None:
    stop = StopRequest()
    with stop_signals(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped, match="SIGTERM"):
            time.sleep(60.0)
    assert stop.reason == "SIGTERM"


def test_process_that_does_not_even_notice_exits_by_itself() -> None:
    program = (
        "import os, signal, time\n"
        "from benchbench.cli.signals import stop_signals\n"
        "from benchbench.stopping import Stopped, StopRequest\n"
        "end = time.monotonic() + 60\n"
        "with stop_signals(StopRequest()):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    while time.monotonic() < end:\n"
        "        try:\n"
        "            time.sleep(1)\n"
        "        except Stopped:\n"
        "            pass\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=50).returncode == 1


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM)]
    with stop_signals(StopRequest(), {"SLURM_JOB_ID": "1"}):
        assert signal.getsignal(signal.SIGUSR1) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM)] == before


def test_budget_that_is_used_up_exits_with_0_and_says_what_is_left(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite(defenses=["natural", "at"], epochs=100_000)
    began = time.monotonic()
    answer = command("run", "--suite", suite, "--budget", "3s", "--json")
    assert time.monotonic() - began < 30.0
    assert answer.status == 0
    assert (answer.document["left"], answer.document["stopped"]) == (2, "the budget is used up")
    assert "the budget is used up: 2 cells left, the same command goes on from here" in answer.err


@pytest.mark.parametrize("budget", ["soon", "-1m", "30"])
def test_budget_that_is_no_duration_is_reported(command: Command, write_suite: WriteSuite, budget: str) -> None:
    answer = command("run", "--suite", write_suite(), f"--budget={budget}")
    assert answer.status == 2
    assert "for instance 45s, 30m or 1h30m" in answer.err


SLOW_TO_LEAVE = """
import atexit, sys, time
atexit.register(time.sleep, 300)
from benchbench.cli import main
main(["work", sys.argv[1], "--token", "t", "--worker", "1"])
"""


def test_worker_does_not_wait_for_the_interpreter_to_be_taken_down(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW_TO_LEAVE, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == NOT_SHARED
