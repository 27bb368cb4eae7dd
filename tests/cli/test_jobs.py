"""What ``benchbench run`` does by itself about processes and threads, as a user reads it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from cli.conftest import Command, WriteSuite


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_run_and_plan_give_each_of_several_models_one_thread(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite(defenses=["natural", "gr"])
    document = command("plan", "--suite", suite, "--device", "cpu", "--json").document
    assert document["price"]["device"].endswith(", 1 threads)")
    answer = command("run", "--suite", suite, "--device", "cpu", "--json")
    assert "one thread, in this process: " in answer.err.splitlines()[1]
    assert [row["device"].endswith(", 1 threads)") for row in answer.document["rows"]] == [True, True]


def test_one_job_is_this_process_with_all_threads(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite(defenses=["natural", "gr"])
    answer = command("run", "--suite", suite, "--device", "cpu", "--jobs", "1", "--json")
    assert "one thread" not in answer.err
    assert [row["device"].endswith(", 2 threads)") for row in answer.document["rows"]] == [True, True]
