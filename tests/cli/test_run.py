"""``benchbench run`` from end to end: repeated, changed, interrupted and failing runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cli.conftest import Answer, Command, Fault, WriteSuite, leaderboard
from kernel_traces import recorded, trace

from benchbench.evaluation import subject
from benchbench.harness import scheduling
from benchbench.kernels.determinism import on_threads
from benchbench.kernels.graphs import recording

TIMES = ("train_seconds", "evaluate_seconds", "peak_memory_bytes")


def rows(answer: Answer) -> list[dict[str, object]]:
    """The rows of a run's JSON document, without what differs between equal runs."""
    return [{key: value for key, value in row.items() if key not in TIMES} for row in answer.document["rows"]]


def test_builtin_smoke_suite_runs_and_prints_its_table(command: Command, tmp_path: Path) -> None:
    answer = command("run", "--suite", "smoke")
    assert answer.status == 0
    assert "smoke: quick profile" in answer.out
    assert "Natural" in answer.out
    assert "profile quick (chosen because the device is cpu" in answer.err
    assert "[2/2] digits mlp (hidden=[128, 128]) at, pgd-10, linf 0.1, seed 0" in answer.err
    assert pq.read_table(tmp_path / "leaderboards" / "smoke.parquet").num_rows == 2


def test_second_run_computes_nothing_and_leaves_the_same_bytes(command: Command, tmp_path: Path) -> None:
    first = command("run", "--suite", "smoke", "--json")
    before = leaderboard(tmp_path, "smoke")
    second = command("run", "--suite", "smoke", "--json")
    assert (first.document["finished"], second.document["finished"]) == (2, 0)
    assert second.document["cells"] == {"total": 2, "ready": 0, "done": 2, "skipped": 0, "failed": 0}
    assert second.document["rows"] == first.document["rows"]
    assert leaderboard(tmp_path, "smoke") == before


def test_json_is_one_document_and_progress_is_on_standard_error(command: Command, write_suite: WriteSuite) -> None:
    answer = command("run", "--suite", write_suite(), "--json")
    assert answer.document["suite"] == "tiny"
    assert answer.document["rows"][0]["test_accuracy"] >= 0
    assert "[1/1]" in answer.err


def test_quiet_says_only_where_the_leaderboard_is(command: Command, write_suite: WriteSuite) -> None:
    answer = command("run", "--suite", write_suite(), "--quiet")
    assert answer.err == "leaderboard: leaderboards/tiny.parquet\n"


def test_fresh_computes_again_with_equal_measures(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite(defenses=["natural", "at"])
    first = command("run", "--suite", suite, "--json")
    again = command("run", "--suite", suite, "--json", "--fresh")
    assert again.document["finished"] == 2
    assert rows(again) == rows(first)


def test_only_and_seed_choose_cells(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite(defenses=["natural", "at"])
    answer = command("run", "--suite", suite, "--only", "defense=at", "--seed", "3", "--seed", "4", "--json")
    assert [(row["defense"], row["seed"]) for row in rows(answer)] == [("at", 3), ("at", 4)]
    assert rows(answer)[0]["test_accuracy"] is not None


def test_profiles_are_separate_cells(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite()
    quick = command("run", "--suite", suite, "--json")
    paper = command("run", "--suite", suite, "--json", "--profile", "paper")
    assert (quick.document["profile"], paper.document["profile"]) == ("quick", "paper")
    assert (quick.document["finished"], paper.document["finished"]) == (1, 0)  # equal work is taken over
    (ours,), (theirs,) = rows(quick), rows(paper)
    assert (ours["profile"], theirs["profile"]) == ("quick", "paper")
    assert ours["cell_id"] != theirs["cell_id"]
    assert "chosen because" not in paper.err


def test_changed_option_trains_anew(command: Command, write_suite: WriteSuite) -> None:
    first = command("run", "--suite", write_suite(defenses=[{"name": "trades", "beta": 1.0}]), "--json")
    other = command("run", "--suite", write_suite(defenses=[{"name": "trades", "beta": 2.0}]), "--json")
    assert other.document["finished"] == 1
    assert rows(first)[0]["model_id"] != rows(other)[0]["model_id"]


def test_second_attack_uses_the_trained_model(command: Command, write_suite: WriteSuite, tmp_path: Path) -> None:
    command("run", "--suite", write_suite(), "--runs", tmp_path / "runs")
    answer = command("run", "--suite", write_suite(attacks=["pgd-10", "mt-20"]), "--runs", tmp_path / "runs", "--json")
    assert answer.document["finished"] == 1
    assert len({row["model_id"] for row in rows(answer)}) == 1
    assert len(list((tmp_path / "runs" / "models").iterdir())) == 1


@pytest.mark.parametrize("wrong", ["crash", "diverge"])
def test_crashed_cell_is_a_failed_row_and_is_tried_again(
    command: Command, write_suite: WriteSuite, fault: Fault, wrong: str, tmp_path: Path
) -> None:
    suite = write_suite(defenses=["planted", "natural"])
    fault.now = wrong
    answer = command("run", "--suite", suite, "--json")
    assert answer.status == 1
    assert "Traceback" not in answer.err
    message = {"crash": "ZeroDivisionError: planted crash", "diverge": "the training loss is not finite"}[wrong]
    assert f"planted, pgd-10, linf 0.1, seed 0: {message}" in answer.err
    by_defense = {row["defense"]: row for row in rows(answer)}
    assert by_defense["planted"]["status"] == "failed"
    assert str(by_defense["planted"]["error"]).startswith(message)
    assert by_defense["natural"]["status"] == "ok"
    assert answer.document["failures"][0]["error"].startswith(message)
    fault.now = ""
    again = command("run", "--suite", suite, "--json")
    assert (again.status, again.document["finished"]) == (0, 1)
    assert {row["status"] for row in rows(again)} == {"ok"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("leave the ball", "planted"),
        ("no loss", "expected a BatchLoss"),
        ("NaN weights", "not finite"),
    ],
)
def test_broken_contract_is_recorded_without_a_row(
    command: Command, write_suite: WriteSuite, fault: Fault, wrong: str, message: str, tmp_path: Path
) -> None:
    suite = write_suite(defenses=["planted", "natural"], attacks=["planted"])
    fault.now = wrong
    answer = command("run", "--suite", suite, "--json", "--runs", tmp_path / "runs")
    assert answer.status == 1
    assert message in answer.document["failures"][0]["error"]
    refused = [failure["cell_id"] for failure in answer.document["failures"]]
    assert not {row["cell_id"] for row in rows(answer)} & set(refused)
    assert {path.name for path in (tmp_path / "runs" / "cells").glob("*.failed.json")} == {
        f"{cell_id}.failed.json" for cell_id in refused
    }
    fault.now = ""
    again = command("run", "--suite", suite, "--json", "--runs", tmp_path / "runs", "--fresh")
    assert again.status == 0
    assert len(rows(again)) == 2


def test_failed_row_gives_way_to_a_refusal(command: Command, write_suite: WriteSuite, fault: Fault) -> None:
    suite = write_suite(defenses=["planted"])
    fault.now = "crash"
    assert len(rows(command("run", "--suite", suite, "--json"))) == 1
    fault.now = "no loss"
    assert rows(command("run", "--suite", suite, "--json")) == []


def test_interrupted_run_says_how_to_go_on_and_the_next_one_finishes(
    command: Command, write_suite: WriteSuite, fault: Fault, tmp_path: Path
) -> None:
    suite = write_suite(defenses=["natural", "planted"])
    fault.now = "interrupt"
    broken_off = command("run", "--suite", suite, "--json")
    assert (broken_off.status, broken_off.out) == (130, "")
    assert "the same command goes on from here" in broken_off.err
    assert pq.read_table(tmp_path / "leaderboards" / "tiny.parquet").num_rows == 1
    fault.now = ""
    rest = command("run", "--suite", suite, "--json")
    assert (rest.status, rest.document["finished"]) == (0, 1)
    folders = ("--runs", tmp_path / "other-runs", "--leaderboards", tmp_path / "other")
    assert rows(rest) == rows(command("run", "--suite", suite, "--json", *folders))


def test_no_cell_can_run_is_said(command: Command, tmp_path: Path, write_suite: WriteSuite) -> None:
    suite = write_suite()
    suite.write_text(suite.read_text().replace('{ name = "digits", scale = 1 }', '"svhn"'))
    answer = command("run", "--suite", suite)
    assert answer.status == 1
    assert "skipped digits: svhn: no file" in answer.err
    assert "benchbench data fetch svhn" in answer.err
    assert "no rows" in answer.err


@pytest.mark.exhaustive
def test_interrupt_signal_ends_the_process_within_seconds_and_loses_nothing(
    command: Command, write_suite: WriteSuite, tmp_path: Path
) -> None:
    suite = write_suite(defenses=["natural", "at"], epochs=100)
    arguments = ["run", "--suite", str(suite), "--device", "cpu", "--json"]
    program = [sys.executable, "-m", "benchbench", *arguments]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as child:
        assert child.stderr is not None
        while "[1/2]" not in child.stderr.readline():
            assert child.poll() is None
        sent = time.monotonic()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert time.monotonic() - sent < 10.0  # a second, on a machine of one's own
    assert (child.returncode, out) == (130, "")
    assert "the same command goes on from here" in err
    assert "Traceback" not in err
    rest = command(*arguments)
    assert rest.status == 0
    folders = ("--runs", tmp_path / "other-runs", "--leaderboards", tmp_path / "other")
    assert rows(rest) == rows(command(*arguments, *folders))


@pytest.mark.exhaustive  # tests/test_pretend_device.py has a shorter one
def test_cuda_graphs_are_recorded_with_the_option_and_rows_stay_equal(
    command: Command, write_suite: WriteSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, where a trace of the kernels stands in for a graph."""
    monkeypatch.setattr(scheduling, "recording", partial(recording, trace))
    monkeypatch.setattr(subject, "CPU_BATCH", 1)  # several calls, for the second one is recorded
    suite = write_suite(defenses=["natural", "at", "trades"], batch_size=16)
    recorded.clear()
    plain = command("run", "--suite", suite, "--jobs", "1", "--json")
    folders = ("--runs", tmp_path / "other-runs", "--leaderboards", tmp_path / "other")
    assert not recorded
    replayed = command("run", "--suite", suite, "--jobs", "1", "--json", "--cuda-graphs", *folders)
    assert len(recorded) >= 3  # the training of each model
    assert rows(replayed) == rows(plain)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_rows_of_a_rounded_search_are_rows_of_their_own_and_say_so(
    command: Command, write_suite: WriteSuite, precision: str
) -> None:
    suite = write_suite()
    exact = command("run", "--suite", suite, "--json")
    fast = command("run", "--suite", suite, "--precision", precision, "--json")
    assert exact.document["rows"][0]["precision"] == "float32"
    assert {row["precision"] for row in fast.document["rows"]} >= {precision}
    assert fast.document["finished"] == 1
    assert fast.document["rows"][0]["model_id"] == exact.document["rows"][0]["model_id"]


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_model_trained_in_rounded_numbers_is_another_model_judged_in_float32(
    command: Command, write_suite: WriteSuite, precision: str
) -> None:
    suite = write_suite()
    exact = command("run", "--suite", suite, "--json").document
    fast = command("run", "--suite", suite, "--train-precision", precision, "--json").document
    (row,) = [row for row in fast["rows"] if row["train_precision"] == precision]
    assert fast["finished"] == 1  # and the model that was there is left alone
    assert row["precision"] == exact["rows"][0]["precision"] == exact["rows"][0]["train_precision"] == "float32"
    assert row["model_id"] != exact["rows"][0]["model_id"]
    assert json.loads(row["configuration"])["training"]["recipe"]["precision"] == precision
    only = command("run", "--suite", suite, "--train-precision", precision, "--only", f"train_precision={precision}")
    assert only.status == 0
    assert f"trained in {precision}" in command("table", "tiny", "--format", "markdown").out


def test_suite_says_what_it_trains_in_and_the_command_overrules_it(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite()
    text = suite.read_text()
    suite.write_text(text.replace("recipe = {", 'recipe = { precision = "bf16",', 1))
    (row,) = command("run", "--suite", suite, "--json").document["rows"]
    assert row["train_precision"] == "bf16"
    (row,) = command("run", "--suite", suite, "--train-precision", "float32", "--json").document["rows"]
    assert row["train_precision"] == "float32"
    suite.write_text(text.replace("recipe = {", 'recipe = { precision = "bf61",', 1))
    answer = command("check", suite)
    assert answer.status == 2
    assert "bf16" in answer.err + answer.out


def test_tf32_on_a_cpu_is_reported_to_gain_nothing(command: Command, write_suite: WriteSuite) -> None:
    answer = command("run", "--suite", write_suite(), "--precision", "tf32", "--device", "cpu")
    assert answer.status == 0
    assert "tf32 will not help here: only CUDA devices from Ampere on" in answer.err


@pytest.fixture
def two_threads() -> Iterator[None]:
    with on_threads(2):
        yield


@pytest.mark.usefixtures("two_threads")
def test_run_and_plan_give_each_of_several_models_one_thread(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite(defenses=["natural", "gr"])
    document = command("plan", "--suite", suite, "--device", "cpu", "--json").document
    assert document["price"]["device"].endswith(", 1 threads)")
    answer = command("run", "--suite", suite, "--device", "cpu", "--json")
    assert "one thread, in this process: " in answer.err.splitlines()[1]
    assert [row["device"].endswith(", 1 threads)") for row in answer.document["rows"]] == [True, True]


@pytest.mark.usefixtures("two_threads")
def test_one_job_is_this_process_with_all_threads(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite(defenses=["natural", "gr"])
    answer = command("run", "--suite", suite, "--device", "cpu", "--jobs", "1", "--json")
    assert "one thread" not in answer.err
    assert [row["device"].endswith(", 2 threads)") for row in answer.document["rows"]] == [True, True]


def test_plan_tells_radii_and_networks_apart(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite(defenses=["natural"])
    text = suite.read_text(encoding="utf-8") + "evaluation = [{ epsilon = 0.05 }, {}]\n"
    suite.write_text(text, encoding="utf-8")
    lines = [line for line in command("plan", "--suite", suite).out.splitlines() if " ready " in line]
    assert lines
    assert len(lines) == len(set(lines))
    assert any("linf 0.05" in line for line in lines)
