"""The plugin that docs/plugins.md walks through works as printed."""

from __future__ import annotations

import importlib
import re
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fresh_environments import FreshEnvironment

import benchbench.contract
from benchbench.registry import Registry, load_registry
from benchbench.suite import read_suite

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"
BLOCK = re.compile(r"^```(?:python|toml)\n# (?P<file>\S+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The files of the page, in a folder that can be imported from."""
    for block in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        file = tmp_path / block["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block["code"], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "benchbench_gaussian"]:
        del sys.modules[name]


@pytest.fixture
def registry(plugin: Path) -> Registry:
    modules = [importlib.import_module(name) for name in ("benchbench_gaussian", "benchbench_gaussian.offers")]
    return load_registry(extra_plugins=modules)


def test_every_code_block_names_its_file_and_is_run() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(BLOCK.findall(text)) == len(re.findall(r"^```\w+$", text, re.MULTILINE)) == 11


@pytest.mark.parametrize("name", ["test_defense", "test_kinds"])
def test_tests_on_the_page_pass(plugin: Path, name: str) -> None:
    functions = runpy.run_path(str(plugin / "tests" / f"{name}.py"))
    tests = [value for key, value in functions.items() if key.startswith("test_")]
    assert tests
    for test in tests:
        test()


PROTOCOLS = {name: value for name, value in vars(benchbench.contract).items() if getattr(value, "_is_protocol", False)}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocol_of_the_contract_has_a_line_that_names_its_methods(name: str) -> None:
    members = {one for base in PROTOCOLS[name].__mro__ for one in vars(base) if not one.startswith("_")}
    assert members
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}` |")]
    assert len(lines) == 1, f"docs/plugins.md, Every Protocol, has {len(lines)} lines for {name}"
    assert [member for member in sorted(members) if f"`{member}`" not in lines[0]] == []


def test_protocols_are_all_that_the_contract_has() -> None:
    assert {"DescribedDataset", "ExamplewiseMetric", "RegressionEvidence", "Host"} <= set(PROTOCOLS)
    assert set(PROTOCOLS) <= set(benchbench.contract.__all__)


def test_defense_takes_twenty_lines(plugin: Path) -> None:
    files = [plugin / "benchbench_gaussian" / name for name in ("__init__.py", "defense.py")]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= 20


def test_every_offer_on_the_page_is_registered(registry: Registry) -> None:
    kinds = {"dataset": "stripes", "architecture": "linear", "defense": "gaussian", "attack": "fgsm"}
    for kind, name in {**kinds, "metric": "confidence", "suite": "gaussian"}.items():
        assert registry.get(kind, name).offer.name == name
    assert [option.name for option in registry.options("defense", "gaussian")] == ["sigma"]
    assert not [problem for problem in registry.problems if "gaussian" in problem.name]


def test_suite_on_the_page_is_valid(registry: Registry) -> None:
    (experiment,) = read_suite("gaussian", registry).profile("paper")
    assert [defense.name for defense in experiment.defenses] == ["natural", "gaussian"]
    assert dict(experiment.defenses[1].options) == {"sigma": 0.2}


@pytest.mark.exhaustive
def test_plugin_on_the_page_is_installed_by_pip_passes_its_tests_and_runs(plugin: Path, tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    both = re.search(r"^    (\[project\.entry-points\.benchbench\]\n(?:    .+\n)+)", page, re.MULTILINE)
    assert both is not None
    project = (plugin / "pyproject.toml").read_text(encoding="utf-8")
    (plugin / "pyproject.toml").write_text(
        project.partition("[project.entry-points")[0] + re.sub("(?m)^    ", "", both[1])
    )
    environment = FreshEnvironment.with_distributions(tmp_path / "environment", plugin)
    tested = environment.python("-m", "pytest", "-q", "-p", "no:cacheprovider", plugin / "tests")
    assert "2 passed" in tested.stdout, tested.stdout
    shutil.rmtree(plugin / "benchbench_gaussian")  # what runs from here on is the installed copy
    ran = environment.benchbench("run", "--suite", "gaussian", "--device", "cpu", "--quiet")
    assert ran.returncode == 0, ran.stderr
    assert "gaussian" in ran.stdout
    assert environment.benchbench("plugins", "doctor").returncode == 0
