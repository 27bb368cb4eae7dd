"""The commands that only tell: their text, their JSON documents, their exit statuses, and what they do not import."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import Command, WriteSuite
from rich.console import Console

import benchbench.pricing.cells
from benchbench.builtin.defenses.trades import Trades
from benchbench.cli import COMMANDS, printing
from benchbench.version import DISTRIBUTION

KINDS = ("dataset", "architecture", "defense", "attack", "metric", "suite")


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


@pytest.mark.parametrize("kind", KINDS)
def test_list_names_what_is_registered(command: Command, kind: str) -> None:
    answer = command("list", f"{kind}s", "--json")
    assert answer.status == 0
    assert {entry["kind"] for entry in answer.document} == {kind}
    text = command("list", kind)
    assert text.status == 0
    assert all(entry["name"] in text.out for entry in answer.document)


def test_list_does_not_wrap_where_there_is_no_terminal(command: Command) -> None:
    answer = command("list", "defense")
    assert len(answer.out.splitlines()) == 1 + len(command("list", "defense", "--json").document)


def test_tables_break_between_words_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = partial(Console, force_terminal=True, width=60, color_system=None)
    monkeypatch.setattr("benchbench.cli.printing.Console", narrow)
    long, short = "misclassification " * 3, "a few words " * 5
    printing.print_table(("one", "two", "three", "four"), [(long, short, short, short)])
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert said.split().count("misclassification") == 3
    assert max(map(len, said.splitlines())) <= 60
    printing.print_table(
        tuple("abcdefg"), [tuple(letter * 18 for letter in "abcdefg")]
    )  # for whose words there is no room
    said = capsys.readouterr().out
    assert all(said.count(letter) >= 19 for letter in "abcdefg")


def test_show_tells_options_with_type_and_default(command: Command) -> None:
    answer = command("show", "defense", "trades")
    assert answer.status == 0
    assert "beta        float  6.0" in answer.out
    options = command("show", "attack", "pgd-10", "--json").document["options"]
    steps = next(option for option in options if option["name"] == "steps")
    assert steps == {"name": "steps", "type": "int", "default": 10, "required": False, "fixed": True}


def test_show_tells_a_revision_above_the_first(command: Command) -> None:
    assert ", revision 2\n" in command("show", "defense", "llr").out
    assert "revision" not in command("show", "defense", "gr").out
    assert command("show", "defense", "gr", "--json").document["revision"] == 1


def test_show_of_a_family_counts_its_members(command: Command) -> None:
    assert "resnet50" in command("show", "architecture", "timm", "--json").document["members"]


def test_show_finds_an_attack_of_a_family_by_its_own_name(command: Command) -> None:
    assert command("show", "attack", "fgsm").out.startswith("attack foolbox:FGSM: ")


def test_show_of_a_suite_tells_its_file_and_grid(command: Command) -> None:
    said = command("show", "suite", "closer-look").out
    assert "suites/closer-look.toml\n" in said
    assert re.search(r"\nmnist +mnist +linf 0.1 +cnn1, cnn2 +natural, gr, llr, at, rst, trades +pgd-10", said)
    assert re.search(r"\nsvhn +svhn +linf 0.031 +skipped: a network of this size takes days without a GPU\n", said)


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


def test_check_accepts_a_right_suite(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite()
    assert "valid; suite tiny, profiles paper, quick" in command("check", suite).out
    assert command("check", suite, "--json").document == {"file": str(suite), "valid": True, "problems": []}


def test_check_explains_a_suite_as_one_that_can_be_read_again(
    command: Command, write_suite: WriteSuite, tmp_path: Path
) -> None:
    write_suite()
    (tmp_path / "more.toml").write_text('name = "more"\nprotocol = "more-1"\nextends = "tiny.toml"\nseeds = [0, 1]\n')
    answer = command("check", "more.toml", "--explain", "--profile", "quick")
    assert answer.status == 0
    (tmp_path / "resolved.toml").write_text(answer.out)
    again = command("check", "resolved.toml", "--explain")
    assert again.out == answer.out
    assert "seeds = [0, 1]" in again.out
    assert command("check", "more.toml", "--explain", "--json").document["explained"].count("[profiles.") == 2
    assert "did you mean 'quick'?" in command("check", "more.toml", "--explain", "--profile", "quik").err
    assert command("check", "more.toml", "--profile", "quick").status == 2


def test_plan_tells_cells_with_short_labels_and_estimates(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite(defenses=["natural", {"name": "trades", "beta": 3.0}])
    answer = command("plan", "--suite", suite)
    assert answer.status == 0
    assert "trades (beta=3)" in answer.out
    assert "2 ready" in answer.err
    document = command("plan", "--suite", suite, "--json").document
    assert [cell["status"] for cell in document["cells"]] == ["ready", "ready"]
    assert document["estimated_seconds"] == pytest.approx(sum(cell["estimated_seconds"] for cell in document["cells"]))


def test_plan_says_for_how_many_cells_there_is_no_estimate(
    command: Command, write_suite: WriteSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = benchbench.pricing.cells.training_phases

    def refuse_trades(defense: object, *arguments: Any, **named: Any) -> object:
        if isinstance(defense, Trades):
            raise RuntimeError("it traces the network, and the one that counts passes cannot be traced")
        return counted(defense, *arguments, **named)

    monkeypatch.setattr(benchbench.pricing.cells, "training_phases", refuse_trades)
    suite = write_suite(defenses=["natural", {"name": "trades", "beta": 3.0}])
    assert "of work, and what has no estimate (1 of 2 cells)" in command("plan", "--suite", suite).err
    suite = write_suite(defenses=[{"name": "trades", "beta": 3.0}])
    said = command("plan", "--suite", suite).err
    assert "there is no estimate: the passes of these cells cannot be counted" in said
    assert "0.0 s of work" not in said


def test_plan_tells_what_is_done_and_what_is_skipped_and_why(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite(defenses=["natural", "at"])
    command("run", "--suite", suite, "--only", "defense=at")
    text = suite.read_text()
    svhn = text.partition("[[experiments]]")[2].replace('"digits"', '"svhn"').replace(", scale = 1", "")
    suite.write_text(f"{text}\n[[experiments]]{svhn}")
    answer = command("plan", "--suite", suite, "--json")
    cells = answer.document["cells"]
    assert [(cell["experiment"], cell["defense"], cell["status"]) for cell in cells] == [
        ("digits", "natural", "ready"),
        ("digits", "at", "done"),
        ("svhn", "natural", "skipped"),
        ("svhn", "at", "skipped"),
    ]
    assert "benchbench data fetch svhn" in cells[2]["reason"]
    assert command("plan", "--suite", suite).status == 0


def test_plan_with_a_failure_ends_with_status_1(command: Command, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte").write_bytes(b"damaged")
    only = ("--only", "dataset=mnist", "--only", "defense=natural")
    arguments = ("plan", "--suite", "closer-look", "--profile", "quick", *only, "--data", tmp_path, "--json")
    answer = command(*arguments)
    assert {cell["status"] for cell in answer.document["cells"]} == {"failed"}
    assert answer.status == 1


def test_plan_prices_the_whole_grid_also_for_a_device_timed_elsewhere(
    command: Command, write_suite: WriteSuite, tmp_path: Path
) -> None:
    suite, timings = write_suite(), tmp_path / "timings.json"
    here = command("plan", "--suite", suite, "--device", "cpu", "--save-timings", timings, "--json").document
    assert here["price"]["unit"] == "CPU-hours"
    assert here["price"]["total"]["hours"] == pytest.approx(
        sum(c["price"]["evaluate_seconds"] + c["price"]["train_seconds"] for c in here["cells"]) / 3600
    )
    document = json.loads(timings.read_text())
    assert document["device"] == here["price"]["device"]
    timings.write_text(json.dumps({**document, "device": "cuda (toaster)"}))
    there = command("plan", "--suite", suite, "--device", "cpu", "--timings", timings, "--json").document
    assert (there["price"]["unit"], there["price"]["device"]) == ("GPU-hours", "cuda (toaster)")
    assert there["price"]["total"]["seconds"] == pytest.approx(here["price"]["total"]["seconds"])
    lines = command("plan", "--suite", suite, "--timings", timings, "--cells").out.splitlines()
    (heading,) = [number for number, line in enumerate(lines) if "GPU-hours: training" in line]
    assert lines[heading + 1].split()[:5] == ["digits", "mlp", "natural", "pgd-10", "0"]
    assert sum("GPU-hours" in line for line in lines) == 2  # the cells one by one, and by experiment
    assert command("plan", "--suite", suite, "--timings", tmp_path / "none.json").status == 2


def test_plan_of_the_whole_suite_needs_no_data(command: Command) -> None:
    answer = command("plan", "--suite", "closer-look", "--json", "--only", "dataset=mnist,svhn")
    assert answer.status == 0
    assert {cell["status"] for cell in answer.document["cells"]} == {"skipped"}


def test_data_list_tells_states(command: Command) -> None:
    answer = command("data", "list", "--json")
    states = {entry["name"]: entry["status"] for entry in answer.document}
    assert (answer.status, states["digits"], states["svhn"]) == (0, "available", "missing")
    assert "benchbench data fetch svhn" in command("data", "list").out


def test_data_verify_reads_datasets(command: Command) -> None:
    answer = command("data", "verify", "digits", "--json")
    assert answer.status == 0
    assert (answer.document[0]["n_train"], answer.document[0]["n_test"]) == (1437, 360)


def test_data_verify_of_a_missing_dataset_fails(command: Command) -> None:
    assert command("data", "verify", "svhn").status == 1


def test_data_fetch_of_embedded_data_says_what_is_there(command: Command) -> None:
    answer = command("data", "fetch", "digits")
    assert answer.status == 0
    assert "digits: 1437 training and 360 test examples" in answer.out


def test_plugins_are_listed_and_examined(command: Command) -> None:
    listed = command("plugins", "list", "--json")
    assert listed.document[0]["distribution"] == DISTRIBUTION
    assert "trades" in listed.document[0]["offers"]["defense"]
    assert "builtin" in command("plugins", "list").out
    answer = command("plugins", "doctor")
    problems = command("plugins", "doctor", "--json").document
    assert answer.status == (1 if problems else 0)


def test_broken_plugin_is_explained_and_the_rest_works(tmp_path: Path) -> None:
    package = tmp_path / "packages" / "broken-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[benchbench]\nbroken = broken_plugin\n")
    (package.parent / "broken_plugin.py").write_text("raise RuntimeError('no [red]luck[/red]')")
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "benchbench", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)

    doctor = run("plugins", "doctor")
    assert doctor.returncode == 1
    assert "no [red]luck[/red]" in doctor.stdout
    listed = run("list", "defense")
    assert listed.returncode == 0
    assert "trades" in listed.stdout
    assert "benchbench plugins doctor" in listed.stderr


def test_doctor_examines_packages_device_and_folders(command: Command) -> None:
    answer = command("doctor", "--json")
    checks = {check["check"]: check for check in answer.document}
    assert {
        "packages",
        "namesake",
        "torch and torchvision",
        "device",
        "data root",
        "runs",
        "leaderboards",
        "plugins",
    } <= checks.keys()
    assert "torch" in checks["packages"]["detail"]
    assert checks["runs"]["ok"]


def test_doctor_names_missing_extras_with_their_command(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import benchbench.cli.doctor

    monkeypatch.setattr(benchbench.cli.doctor, "_is_installed", lambda name: name not in ("altair", "numba"))
    said = dict(line.split(maxsplit=1) for line in command("doctor").out.splitlines())["extras"]
    assert "report (altair): pip install 'benchbench-robustness[report]'" in said
    assert "separation (numba): pip install" in said
    assert "timm" not in said


def test_doctor_finds_a_folder_that_cannot_be(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = command("doctor", "--runs", tmp_path / "file" / "runs")
    assert answer.status == 1
    assert "a file, not a folder" in answer.out
