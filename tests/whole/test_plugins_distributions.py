"""The distributions under ``plugins/``: found, healthy, tested, documented, and at work together in one suite."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from plugin_sources import Distribution, distributions, put_on_path
from run_processes import EXHAUSTIVE

from benchbench.api import run
from benchbench.contract import API_VERSION
from benchbench.contract.offers import Hooks
from benchbench.errors import SuiteError, UnknownNameError
from benchbench.registry import examine, load_registry
from benchbench.registry.discovery import HOOKS
from benchbench.registry.known import KNOWN
from benchbench.suite import read_suite

ALL = distributions()
ROOT = Path(__file__).resolve().parents[2]
LONG = (  # tests of distributions that take seconds each
    "radius_of_a_linear_model",
    "radius_beside_a_biased_boundary",
    "linear_model_is_right_under_noise",
    "both_work_in_l2",
    "measured_rows_of_autoattack",
    "leaderboards_become_published_rows",
    "cluster_of_its_own",
    "test_metric_keeps_the_contract",
)

SUITE = """
name = "everything"
protocol = "everything-1"

[defaults]
architectures = [{ name = "mlp", hidden = [16] }]
defenses = ["natural"]
attacks = ["pgd-10"]
metrics = ["accuracy", "adversarial-accuracy"]
threat = { norm = "linf", epsilon = 0.05 }
recipe = { learning_rate = 0.001, epochs = 2 }
n_train = 200
n_test = 40
n_train_evaluated = 40

[[experiments]]
name = "defenses"
dataset = { name = "digits", scale = 1 }
defenses = ["mart", "awp-at", { name = "awp-trades", beta = 1.0 }, "fast-at", { name = "free-at", replays = 2 }]

[[experiments]]
name = "measures"
dataset = { name = "pruned", base = { name = "digits", scale = 3 }, radius = 0.1 }
architectures = [{ name = "preact-resnet-18", width = 8 }] # with 2, torch 2.13 corrupts its heap on some processors
defenses = [{ name = "gaussian-noise", sigma = 0.1 }]
attacks = ["fgsm-rs"]
metrics = [
    "accuracy",
    "adversarial-accuracy",
    { name = "certified-l2", n0 = 5, n = 20, radii = [0.1] },
    { name = "corruption-accuracy", severities = [1, 5] },
]
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every distribution, as pip would have installed it."""
    for distribution in ALL:
        put_on_path(distribution, tmp_path / distribution.name, monkeypatch)
    monkeypatch.syspath_prepend(ROOT / "plugins" / "benchbench-robustbench" / "tests" / "fake")  # what it adapts


def implementers(hook: str) -> list[str]:
    """The distributions whose hook modules implement a hook, read from their sources."""
    found = []
    for distribution in ALL:
        for target in distribution.entry_points.values():
            tree = ast.parse((distribution.source / target / "__init__.py").read_text(encoding="utf-8"))
            found += [
                distribution.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == hook
            ]
    return found


@pytest.mark.parametrize("hook", [name for name in vars(Hooks) if not name.startswith("_")])
def test_hook_is_known_documented_and_used_by_a_distribution(hook: str) -> None:
    assert hook in HOOKS
    assert f"`{hook}`" in (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    assert implementers(hook), f"no distribution under plugins/ uses {hook}"


def test_every_distribution_is_found_and_healthy(installed: None) -> None:
    registry = load_registry()
    names = {plugin.distribution: plugin.version for plugin in registry.plugins}
    assert {distribution.name: distribution.version for distribution in ALL}.items() <= names.items()
    ours = {distribution.name for distribution in ALL}
    assert [problem for problem in examine(registry) if problem.distribution in ours] == []


def test_table_of_known_distributions_is_what_they_offer(installed: None) -> None:
    offered = {plugin.distribution: plugin.offers for plugin in load_registry().plugins}
    assert {distribution.name: dict(offered[distribution.name]) for distribution in ALL} == KNOWN


def test_missing_component_is_told_with_the_distribution_that_provides_it(tmp_path: Path) -> None:
    registry = load_registry()
    missing = [
        (distribution, kind, name)
        for distribution, offers in KNOWN.items()
        for kind, names in offers.items()
        for name in names
    ]
    for distribution, kind, name in missing:
        if any(plugin.distribution == distribution for plugin in registry.plugins):
            continue  # installed in this environment
        with pytest.raises(UnknownNameError, match=f"pip install {distribution}"):
            registry.get(kind, name)


def test_suite_that_names_missing_components_says_who_provides_each(tmp_path: Path) -> None:
    registry = load_registry()
    if any(plugin.distribution in KNOWN for plugin in registry.plugins):
        pytest.skip("some of the distributions are installed in this environment")
    file = tmp_path / "everything.toml"
    file.write_text(SUITE, encoding="utf-8")
    with pytest.raises(SuiteError) as caught:
        read_suite(file, registry)
    for distribution, offers in KNOWN.items():
        if any(f'"{name}"' in SUITE for names in offers.values() for name in names):
            assert f"pip install {distribution}" in str(caught.value)
    assert all(problem.line for problem in caught.value.problems)


def test_all_of_them_work_together_in_one_suite(installed: None, tmp_path: Path) -> None:
    file = tmp_path / "everything.toml"
    file.write_text(SUITE, encoding="utf-8")
    result = run(str(file), device="cpu", runs=tmp_path / "runs", leaderboards=tmp_path / "boards")
    assert (result.failed, result.plan.with_status("skipped")) == (0, ())
    assert [row.defense for row in result.rows].count("free-at") == 1
    (measured,) = [row for row in result.rows if row.defense == "gaussian-noise"]
    extra = dict(measured.extra or {})
    assert {"certified_test_accuracy_l2_0_1", "corruption_test_accuracy", "jpeg_compression_test_accuracy"} <= set(
        extra
    )
    assert len(result.rows) == 6


@pytest.mark.parametrize("distribution", ALL, ids=lambda one: one.name)
def test_distribution_is_complete_and_states_its_interface(distribution: Distribution, installed: None) -> None:
    for name in ("README.md", "LICENSE", "pyproject.toml", "tests"):
        assert (distribution.folder / name).exists()
    readme = (distribution.folder / "README.md").read_text(encoding="utf-8")
    for names in KNOWN[distribution.name].values():
        assert [name for name in names if f"{name}" not in readme] == []
    for target in distribution.entry_points.values():
        assert getattr(importlib.import_module(target), "BENCHBENCH_API", 1) <= API_VERSION


@pytest.mark.parametrize("distribution", ALL, ids=lambda one: one.name)
def test_hook_module_imports_nothing_heavy(distribution: Distribution) -> None:
    program = (
        f"import sys, {', '.join(distribution.entry_points.values())}\n"
        "print(*sorted({'torch', 'numpy', 'scipy', 'PIL'} & sys.modules.keys()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(distribution.source)}
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert finished.stdout.strip() == ""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_distributions_own_tests_pass(tmp_path: Path) -> None:
    """In one process; `test_plugins_alone` installs each by itself."""
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--import-mode=importlib"]
    if not EXHAUSTIVE:
        command += ["-k", f"not ({' or '.join(LONG)})"]
    sources = os.pathsep.join(str(distribution.source) for distribution in ALL)
    finished = subprocess.run(
        [*command, "--rootdir", str(ROOT / "plugins"), *(str(distribution.folder / "tests") for distribution in ALL)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": sources, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
