"""Bad input: one clear message, the documented exit status, no traceback, earlier results as they were."""

from __future__ import annotations

import errno
import gzip
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import Command, WriteSuite, leaderboard

import benchbench.atomic


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--suite", "smok"], "unknown suite 'smok'\n  did you mean 'smoke'?"),
        (["run", "--suite", "smoke", "--profile", "quik"], "no profile 'quik'\n  did you mean 'quick'?"),
        (["run", "--suite", "smoke", "--device", "gpu"], "device 'gpu' is not offered\n  did you mean 'cuda'?"),
        (["run", "smoke", "--device", "mps"], "device 'mps' is not offered\n  use --device cpu, cuda"),
        (["run", "--suite", "smoke", "--device", "cpu:x"], "unknown device 'cpu:x'"),
        (
            ["run", "--suite", "smoke", "--only", "defence=at"],
            "unknown column or option 'defence'\n  did you mean 'defense'?",
        ),
        (
            ["run", "--suite", "smoke", "--only", "defense=natura"],
            "no cell has this defense\n  did you mean 'natural'?",
        ),
        (["run", "--suite", "smoke", "--only", "defense"], "expected KEY=VALUE"),
        (["run", "--suite", "smoke", "--seed", "-1"], "-1 is not in the range"),
        (["run", "--suite", "smoke", "--seed", "one"], "'one' is not a valid int"),
        (["run", "--suite", "smoke", "--data", "/nowhere"], "the data root /nowhere (--data) is not a folder"),
        (["run", "--suite", "nowhere/x.toml"], "there is no such file"),
        (["run", "--suite", "."], "unknown suite '.'"),
        (["run", "--suite", "./"], "not a file"),
        (["run", "--suit", "smoke"], "No such option"),
        (["run"], "Missing argument 'SUITE'. name a suite"),
        (["plan", "smoke", "--suite", "closer-look"], "two suites are given, 'smoke' and --suite 'closer-look'"),
        (["show", "attack", "deepfool"], "did you mean 'foolbox:L2DeepFoolAttack'"),
        (["plan", "closer-look", "--only", "architecture=cnn1"], "the suite has it in --profile paper and short"),
        (["rum"], "unknown command 'rum'; did you mean 'run'?"),
        (["plan", "--suite", "closer-lok"], "did you mean 'closer-look'?"),
        (["show", "defense", "tradse"], "unknown defense 'tradse'\n  did you mean 'trades'?"),
        (["show", "architecture", "timm:resnet5O"], "did you mean 'timm:resnet50'"),
        (["show", "defence", "trades"], "unknown kind 'defence'\n  did you mean 'defense'?"),
        (["list", "datasetz"], "did you mean 'dataset'?"),
        (
            ["table", "nope"],
            "there is no leaderboard leaderboards/nope.parquet\n  benchbench run --suite nope writes one",
        ),
        (
            ["table", "boards/nope.parquet"],
            "there is no leaderboard boards/nope.parquet\n  benchbench run and evaluate --record write them; check the path",
        ),
        (["table", "closer-look", "--table", "99"], "nothing of table '99'"),
        (["table", "closer-look", "--format", "xml"], "'xml' is not one of"),
        (["data", "verify", "mnst"], "unknown dataset 'mnst'\n  did you mean 'mnist'?"),
        (["data", "fetch", "mnst"], "did you mean 'mnist'?"),
        (["separation", "digit"], "did you mean 'digits'?"),
        (["separation", "digits", "--exclude", "99999"], "indices go from 0 to 1436"),
        (["separation", "digits", "--epsilon", "-1"], "epsilon must be a finite number of at least 0"),
        (["separation", "mnist"], "benchbench data fetch mnist"),
    ],
)
def test_mistake_is_reported_with_what_would_be_right(command: Command, arguments: list[str], message: str) -> None:
    answer = command(*arguments)
    assert answer.status == 2
    assert message in answer.err
    assert answer.out == ""
    assert "Traceback" not in answer.err


def test_missing_data_root_of_the_environment_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHBENCH_DATA", "/nowhere")
    answer = command("run", "--suite", "smoke")
    assert answer.status == 2
    assert "(BENCHBENCH_DATA) is not a folder" in answer.err


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"epsilon": -0.1},
            "line 15: experiments[0].threat.epsilon: epsilon must be a finite number of at least 0, got -0.1",
        ),
        ({"epsilon": "large"}, "experiments[0].threat.epsilon: expected a number, got 'large'"),
        ({"epochs": 1.5}, "experiments[0].recipe.epochs: expected an integer, got the number 1.5"),
        (
            {"defenses": ["tradse"]},
            "line 12: experiments[0].defenses[0]: unknown defense 'tradse' (did you mean 'trades'?)",
        ),
        ({"defenses": [{"name": "trades", "bta": 1.0}]}, "experiments[0].defenses[0].bta: unknown option"),
        ({"defenses": [{"name": "trades", "beta": -1.0}]}, "beta"),
        ({"attacks": ["pgd-11"]}, "did you mean 'pgd-10'"),
    ],
)
def test_mistaken_suite_is_refused_with_line_by_every_command(
    command: Command, write_suite: WriteSuite, entries: dict[str, Any], message: str
) -> None:
    suite = write_suite(**entries)
    answers = [command("check", suite), command("run", "--suite", suite), command("plan", "--suite", suite)]
    assert [answer.status for answer in answers] == [2, 2, 2]
    assert all(message in answer.err for answer in answers), answers[0].err
    assert not Path("leaderboards").exists()


def test_check_tells_all_problems_as_json(command: Command, write_suite: WriteSuite) -> None:
    answer = command("check", write_suite(epsilon=-1.0, defenses=["tradse"]), "--json")
    assert answer.status == 2
    assert answer.document["valid"] is False
    assert [problem["line"] for problem in answer.document["problems"]] == [12, 15]
    assert answer.document["problems"][0]["hint"] == "did you mean 'trades'?"


@pytest.mark.parametrize(
    "content", [b"\x80\x02binary\x00", b"x" * 3_000_000, b"name = ", b""], ids=["binary", "huge", "cut", "empty"]
)
def test_file_that_is_no_suite_is_reported(command: Command, tmp_path: Path, content: bytes) -> None:
    suite = tmp_path / "odd.toml"
    suite.write_bytes(content)
    answer = command("run", "--suite", suite)
    assert answer.status == 2
    assert "odd.toml: " in answer.err
    assert "Traceback" not in answer.err


def break_gzip(raw: Path) -> None:
    """Cut a gzipped file short."""
    whole = raw.read_bytes()
    raw.write_bytes(whole[: len(whole) // 2])


def flip_bit(raw: Path) -> None:
    """Change one pixel and compress again."""
    pixels = bytearray(gzip.decompress(raw.read_bytes()))
    pixels[20_000] ^= 1
    raw.write_bytes(gzip.compress(bytes(pixels), compresslevel=1))


@pytest.mark.parametrize("damage", [break_gzip, flip_bit])
def test_damaged_data_fails_its_cells_alone(
    command: Command, write_suite: WriteSuite, real_data: Path, tmp_path: Path, damage: Any
) -> None:
    shutil.copytree(real_data / "MNIST", tmp_path / "data" / "MNIST")
    damaged = next(
        path for path in (tmp_path / "data" / "MNIST" / "raw").iterdir() if path.name.startswith("t10k-images")
    )
    if damaged.suffix != ".gz":
        damaged.with_name(f"{damaged.name}.gz").write_bytes(gzip.compress(damaged.read_bytes(), compresslevel=1))
        damaged.unlink()
        damaged = damaged.with_name(f"{damaged.name}.gz")
    damage(damaged)
    suite = write_suite()
    experiment = suite.read_text().partition("[[experiments]]")[2]
    mnist = experiment.replace('"digits"', '"mnist"').replace(", scale = 1", "")
    suite.write_text(f"{suite.read_text()}\n[[experiments]]{mnist}")
    answer = command("run", "--suite", suite, "--data", tmp_path / "data", "--json")
    assert answer.status == 1
    assert "failed mnist: " in answer.err
    assert damaged.name in answer.err
    assert "Traceback" not in answer.err
    assert answer.document["not_planned"][0]["status"] == "failed"
    assert [row["dataset"] for row in answer.document["rows"]] == ["digits"]
    verified = command("data", "verify", "mnist", "--data", tmp_path / "data", "--json")
    assert (verified.status, verified.document[0]["status"]) == (1, "corrupt")


def test_full_disk_is_reported_and_leaves_earlier_results(
    command: Command, write_suite: WriteSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = write_suite()
    assert command("run", "--suite", suite).status == 0
    before = leaderboard(tmp_path)

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(benchbench.atomic, "_write_bytes", full)
    answer = command("run", "--suite", write_suite(defenses=["natural", "at"]))
    assert answer.status == 2
    assert "no space left on the disk\n  free some space" in answer.err
    assert leaderboard(tmp_path) == before
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)


def test_real_full_disk_is_reported(write_suite: WriteSuite, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        run = ["run", "--suite", str(write_suite()), "--runs", str(disk / "runs"), "--device", "cpu"]
        finished = subprocess.run(
            [sys.executable, "-m", "benchbench", *run], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert finished.returncode == 2
        assert "no space left on the disk" in finished.stderr
        assert "Traceback" not in finished.stderr
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("option", ["--runs", "--leaderboards"])
def test_file_in_place_of_a_folder_is_reported(command: Command, tmp_path: Path, option: str) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        answer = command("run", "--suite", "smoke", option, place)
        assert answer.status == 2
        assert "file" in answer.err
        assert "Traceback" not in answer.err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("option", ["--runs", "--leaderboards"])
def test_unwritable_folder_is_reported_before_anything_is_computed(command: Command, option: str) -> None:
    answer = command("run", "--suite", "smoke", option, "/proc/benchbench")
    assert answer.status == 2
    assert "error: /proc/benchbench" in answer.err
    assert "[1/2]" not in answer.err


def test_home_that_is_a_file_is_reported(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("BENCHBENCH_HOME", str(tmp_path / "file"))
    answer = command("run", "--suite", "smoke")
    assert answer.status == 2
    assert "a part of the path is a file" in answer.err


def test_foreign_file_in_place_of_the_leaderboard_is_left_alone(command: Command, tmp_path: Path) -> None:
    place = tmp_path / "leaderboards" / "smoke.parquet"
    place.parent.mkdir()
    place.write_text("my notes")
    answer = command("run", "--suite", "smoke")
    assert answer.status == 2
    assert "is not a Parquet file" in answer.err
    assert place.read_text() == "my notes"


def test_truncated_leaderboard_is_set_aside_and_rebuilt(
    command: Command, write_suite: WriteSuite, tmp_path: Path
) -> None:
    suite = write_suite()
    command("run", "--suite", suite)
    whole = leaderboard(tmp_path)
    (tmp_path / "leaderboards" / "tiny.parquet").write_bytes(whole[: len(whole) // 2])
    assert command("table", "tiny").status == 2
    assert command("run", "--suite", suite).status == 0
    assert leaderboard(tmp_path) == whole
    assert (tmp_path / "leaderboards" / "tiny.parquet.corrupt").exists()
