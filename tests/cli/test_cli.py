"""The command line as a whole: bad input is one clear message with its exit status, and ``--help`` is light."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli.conftest import Command, WriteSuite, leaderboard

import benchbench.atomic
from benchbench.cli import COMMANDS, POLICY, VARIABLE, ask_for_huge_pages, limit_spinning


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


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, env=dict(os.environ)
    )


def test_help_of_every_command_imports_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "pyarrow", "timm", "foolbox", "sklearn", "numba"}
    program = (
        "import sys\nfrom benchbench.cli import invoke\n"
        f"print([invoke([*name.split(), '--help']) for name in sys.argv[1:]], file=sys.stderr)\n"
        f"print(sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)"
    )
    names = [*COMMANDS, "data fetch", "data list", "plugins list"]
    finished = python(program, *names)
    assert finished.stderr == f"{[0] * len(names)}\n[]\n"
    assert finished.stdout.count("Usage: ") == len(names)


@pytest.mark.parametrize("group", ["data", "leaderboard", "plugins"])
def test_help_of_a_group_tells_each_command_in_a_whole_sentence(command: Command, group: str) -> None:
    said = command(group, "--help").out
    assert "..." not in said.partition("Commands:")[2]


def test_commands_that_compute_nothing_import_neither_torch_nor_scikit_learn(tmp_path: Path) -> None:
    there = f"--leaderboards {tmp_path / 'boards'} --runs {tmp_path / 'runs'}"
    commands = [
        *(f"status smoke --json {there}", f"status --suite closer-look --profile quick {there} --device cpu --json"),
        *("list attack", "data list", "show dataset digits", "show architecture wrn", "show architecture cubic-spline"),
        *("show defense trades", "show defense distance", "show attack autoattack", "show metric lipschitz"),
        *("show suite closer-look", "show executor local"),
    ]
    program = (
        "import sys\nfrom benchbench.cli import invoke\n"
        "print([invoke(name.split()) for name in sys.argv[1:]], file=sys.stderr)\n"
        "print(sorted({'torch', 'sklearn', 'scipy'} & sys.modules.keys()), file=sys.stderr)"
    )
    assert python(program, *commands).stderr == f"{[0] * len(commands)}\n[]\n"


def test_module_runs_as_a_program() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "benchbench", "--version"], capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stdout) == (0, "benchbench, version 0.1.0\n")


def test_unknown_command_is_status_2_of_the_program() -> None:
    finished = subprocess.run([sys.executable, "-m", "benchbench", "rum"], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "did you mean 'run'?" in finished.stderr


def test_reader_that_leaves_early_hears_nothing_on_standard_error() -> None:
    program = [sys.executable, "-m", "benchbench", "show", "defense", "trades"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == ""


@pytest.mark.parametrize("name", ["check", "plan", "status", "table"])
def test_suite_is_an_argument_or_an_option(name: str, command: Command) -> None:
    first, second = command(name, "smoke"), command(name, "--suite", "smoke")
    assert first.status == second.status
    assert first.out.splitlines()[:1] == second.out.splitlines()[:1]


def test_status_is_1_where_nothing_that_was_asked_for_was_done(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "benchbench/builtin/suites/smoke.toml").read_text(encoding="utf-8")
    (tmp_path / "nothing.toml").write_text(text.replace('name = "digits"\n', 'name = "digits"\nskip = "no"\n', 1))
    assert command("run", "nothing.toml").status == 1
    monkeypatch.setattr("benchbench.figures.drawing.find_spec", lambda name: None)  # without matplotlib
    answer = command("figure", "nothing")
    assert (answer.status, answer.out) == (1, "")
    assert "there is no leaderboard" in answer.err.splitlines()[0]


@pytest.mark.parametrize(
    ("policy", "before", "after"),
    [
        ("always [madvise] never", {}, {VARIABLE: "1"}),
        ("[always] madvise never", {}, {VARIABLE: "1"}),
        ("always madvise [never]", {}, {}),
        ("always [madvise] never", {VARIABLE: "0"}, {VARIABLE: "0"}),
        (None, {}, {}),
    ],
)
def test_they_are_requested_if_the_system_has_them(
    tmp_path: Path, policy: str | None, before: dict[str, str], after: dict[str, str]
) -> None:
    if policy is not None:
        (tmp_path / "enabled").write_text(policy)
    ask_for_huge_pages(before, tmp_path / "enabled")
    assert before == after


@pytest.mark.skipif(not POLICY.exists() or "[never]" in POLICY.read_text(), reason="this system gives none")
def test_the_command_asks_before_torch_is_there() -> None:
    program = f"""
import atexit, os, sys
atexit.register(lambda: print(*map(os.environ.get, [{VARIABLE!r}, 'GOMP_SPINCOUNT']), 'torch' in sys.modules))
sys.argv = ['benchbench', '--version']
from benchbench.cli import main
main()
"""
    environment = {name: value for name, value in os.environ.items() if name not in (VARIABLE, "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-3:] == ["1", "10000", "False"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"GOMP_SPINCOUNT": "10000"}),
        ({"GOMP_SPINCOUNT": "5"}, {"GOMP_SPINCOUNT": "5"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_threads_spin_shortly_unless_the_user_says_how_they_wait(before: dict[str, str], after: dict[str, str]) -> None:
    limit_spinning(before)
    assert before == after
