"""A plugin that `benchbench plugins new` writes passes its own tests, is found, and runs in its suite, as written."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from fresh_environments import FreshEnvironment

from benchbench.api import run
from benchbench.contract import API_VERSION
from benchbench.contract.offers import KINDS, Kind
from benchbench.errors import StorageError, UnknownNameError, UsageError
from benchbench.registry import load_registry
from benchbench.scaffold import plugin_names, write_plugin
from benchbench.suite import read_suite


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new plugin of each kind, all in one folder."""
    out = tmp_path_factory.mktemp("plugins")
    for kind in KINDS:
        write_plugin(kind, f"brand-new-{kind}", out=out)
    return out


@pytest.fixture
def installed(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, each as pip would have installed it: on the path, with the metadata that names its entry point."""
    for kind in KINDS:
        names = plugin_names(kind, f"brand-new-{kind}")
        source = plugins / names.distribution / "src"
        info = source / f"{names.package}-0.1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {names.distribution}\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text(f"[benchbench]\n{names.component} = {names.package}\n")
        monkeypatch.syspath_prepend(source)
    return plugins


def example(plugins: Path, kind: Kind) -> str:
    names = plugin_names(kind, f"brand-new-{kind}")
    return names.component if kind == "suite" else str(plugins / names.distribution / "example.toml")


@pytest.mark.exhaustive  # a process for each kind
def test_new_plugins_pass_their_own_tests(plugins: Path) -> None:
    sources = os.pathsep.join(str(folder / "src") for folder in plugins.iterdir())
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--import-mode=importlib"]
    finished = subprocess.run(
        [*command, "--rootdir", plugins, *(str(folder / "tests") for folder in plugins.iterdir())],
        capture_output=True,
        text=True,
        cwd=plugins,
        env={**os.environ, "PYTHONPATH": sources, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    assert "25 passed" in finished.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_new_plugin_is_found_and_healthy(installed: Path, kind: Kind) -> None:
    registry = load_registry()
    found = registry.get(kind, f"brand-new-{kind}")
    assert (found.distribution, found.version) == (f"benchbench-brand-new-{kind}", "0.1.0")
    assert [problem for problem in registry.problems if "brand-new" in problem.distribution] == []


@pytest.mark.parametrize("kind", KINDS)
def test_example_suite_uses_the_new_component_in_every_profile(installed: Path, kind: Kind) -> None:
    registry = load_registry()
    suite = read_suite(example(installed, kind), registry)
    for profile in suite.profiles:
        (experiment,) = suite.profile(profile)
        used = {
            "dataset": (experiment.dataset,),
            "architecture": experiment.architectures,
            "defense": experiment.defenses,
            "attack": experiment.attacks,
            "metric": experiment.metrics,
        }
        if kind not in ("suite", "executor"):
            assert f"brand-new-{kind}" in [component.name for component in used[kind]]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.exhaustive] * (kind == "executor")) for kind in KINDS]
)
def test_new_plugin_runs_in_its_suite(
    installed: Path, tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = "quick" if kind == "suite" else None
    sources = os.pathsep.join(str(folder / "src") for folder in installed.iterdir())
    monkeypatch.setenv("PYTHONPATH", sources)  # for the workers, if it is an executor
    result = run(
        example(installed, kind),
        profile=profile,
        device="cpu",
        executor="brand-new-executor" if kind == "executor" else None,
        runs=tmp_path / "runs",
        leaderboards=tmp_path / "boards",
    )
    assert (result.failed, result.plan.with_status("skipped")) == (0, ())
    assert all(row.test_accuracy is not None and row.test_accuracy > 0.2 for row in result.rows)
    assert len(result.rows) == (1 if kind in ("metric", "dataset") else 2)
    if kind == "metric":
        assert "test_confidence" in dict(result.rows[0].extra or {})


def test_new_plugin_states_the_interface_that_it_is_written_for(installed: Path) -> None:
    for kind in KINDS:
        package = plugin_names(kind, f"brand-new-{kind}").package
        assert importlib.import_module(package).BENCHBENCH_API == API_VERSION


def test_nothing_is_left_to_fill_in(plugins: Path) -> None:
    files = [path for path in plugins.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert [path for path in files if "$" in str(path) + path.read_text(encoding="utf-8")] == []
    for kind in KINDS:
        folder = plugins / f"benchbench-brand-new-{kind}"
        assert {path.name for path in folder.iterdir()} >= {"pyproject.toml", "README.md", "LICENSE", "src", "tests"}
        assert stat.S_IMODE(folder.stat().st_mode) & 0o100


def test_plugin_cannot_have_the_name_of_benchbench_itself() -> None:
    with pytest.raises(UsageError, match="benchbench-robustness is benchbench itself"):
        plugin_names("metric", "robustness")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "My-Defense",
        "my_defense",
        "-a",
        "a-",
        "a--b",
        "3d",
        "../escape",
        "a/b",
        "a b",
        "a" * 61,
        "é",
        "benchbench-",
        "a\n",
    ],
)
def test_name_that_will_not_do_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a plugin"):
        write_plugin("defense", name, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["none", "tensor", "defense", "evidence", "class", "a1-2b"])
def test_awkward_name_gives_code_that_compiles(tmp_path: Path, name: str) -> None:
    for kind in KINDS:
        folder = write_plugin(kind, name, out=tmp_path / kind)
        for path in folder.rglob("*.py"):
            compile(path.read_text(encoding="utf-8"), str(path), "exec")


def test_prefix_of_the_distribution_is_not_doubled() -> None:
    assert plugin_names("defense", "benchbench-soft").distribution == "benchbench-soft"
    assert plugin_names("defense", "benchbench-soft").component == "soft"


def test_existing_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "benchbench-mine"
    folder.mkdir()
    (folder / "precious").write_text("work")
    with pytest.raises(UsageError, match="benchbench-mine exists"):
        write_plugin("defense", "mine", out=tmp_path)
    assert [path.name for path in folder.iterdir()] == ["precious"]


def test_unknown_kind_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'defense'"):
        write_plugin("defence", "mine", out=tmp_path)


def test_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="is a file, not a folder"):
        write_plugin("defense", "mine", out=tmp_path / "file")


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS if os.environ.get("BENCHBENCH_EXHAUSTIVE") else ["defense"])
def test_new_plugin_is_installed_by_pip_and_runs(tmp_path: Path, kind: Kind) -> None:
    name = f"brand-new-{kind}"
    folder = write_plugin(kind, name, out=tmp_path)
    environment = FreshEnvironment.with_distributions(tmp_path / "environment", folder)
    listed = environment.benchbench("list", kind, "--json")
    assert name in [entry["name"] for entry in json.loads(listed.stdout)]
    tested = environment.python("-m", "pytest", "-q", "-p", "no:cacheprovider", folder)
    assert tested.returncode == 0, tested.stdout
    shutil.rmtree(folder / "src")  # what runs from here on is the installed copy
    suite = name if kind == "suite" else folder / "example.toml"
    executor = ("--executor", name) if kind == "executor" else ()
    ran = environment.benchbench("run", "--suite", suite, "--device", "cpu", "--quiet", *executor)
    assert ran.returncode == 0, ran.stderr
    examined = environment.benchbench("plugins", "doctor")
    assert (examined.returncode, examined.stdout) == (0, "every plugin is healthy\n")
