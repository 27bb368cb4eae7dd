"""``benchbench run --jobs`` and ``--executor`` on the command line, and what a worker says."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.conftest import Command, WriteSuite


def test_jobs_are_worker_processes_shown_in_one_display(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite(defenses=["natural", "at"])
    answer = command("run", "--suite", suite, "--jobs", "2", "--device", "cpu", "--json")
    assert answer.status == 0
    assert (answer.document["finished"], answer.document["failed"], len(answer.document["rows"])) == (2, 0, 2)
    assert "2 worker processes" in answer.err
    assert "(worker 1)" in answer.err
    assert "digits mlp at, pgd-10, seed 0, done in" in answer.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--executor", "locale"), "unknown executor 'locale'"),
        (("--executor", '{name = "local", thread = 1}'), "thread"),
        (("--executor", '{name = "local", threads = 0}'), "threads must be above 0"),
        (("--jobs", "0"), "0 is not in the range"),
    ],
)
def test_mistaken_executor_is_refused_before_anything_runs(
    command: Command, write_suite: WriteSuite, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    answer = command("run", "--suite", write_suite(), *options)
    assert answer.status == 2
    assert message in answer.err
    assert not (tmp_path / "leaderboards").exists()


def test_worker_refuses_a_folder_that_is_not_the_runs(command: Command, tmp_path: Path) -> None:
    answer = command("work", tmp_path, "--token", "t", "--worker", "1")
    assert answer.status == 66
    assert "job.json cannot be read" in answer.err
    assert "--runs" in answer.err
