"""Each distribution under ``plugins/``, installed alone beside benchbench: the doctor, its own tests, a suite that uses it.

Only with BENCHBENCH_EXHAUSTIVE=1: `tests/whole/test_contributing.py` installs one in every run.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fresh_environments import FreshEnvironment
from plugin_sources import Distribution, distributions

from benchbench.registry.known import KNOWN
from benchbench.version import DISTRIBUTION

SUITE = """
name = "alone"
protocol = "alone-1"

[[experiments]]
name = "alone"
dataset = {dataset}
architectures = [{architecture}]
defenses = [{defenses}]
attacks = [{attacks}]
metrics = ["accuracy", "adversarial-accuracy"{metrics}]
threat = {{ norm = "linf", epsilon = 0.05 }}
recipe = {{ learning_rate = 0.001, epochs = 1 }}
n_train = 60
n_test = 20
n_train_evaluated = 20
"""
PLAIN = {
    "dataset": '{ name = "digits", scale = 1 }',
    "architecture": '{ name = "mlp", hidden = [8] }',
    "defenses": '"natural"',
    "attacks": '"pgd-10"',
    "metrics": "",
}
USES = {
    "benchbench-awp": {
        "dataset": '"digits"',
        "architecture": '{ name = "preact-resnet-18", width = 8 }',
        "defenses": '"awp-at", "awp-trades"',
    },
    "benchbench-certified": {
        "architecture": '"strided-cnn", "lipschitz-mlp"',
        "defenses": '"ibp", "crown-ibp", "lipschitz-margin"',
    },
    "benchbench-corruptions": {"metrics": ', "corruption-accuracy"'},
    "benchbench-dask": {},
    "benchbench-extra-data": {"defenses": '{ name = "at-extra", extra = { name = "digits", scale = 1 } }'},
    "benchbench-fast-at": {"defenses": '"fast-at", "free-at"', "attacks": '"fgsm-rs"'},
    "benchbench-hat": {"defenses": '"hat"'},
    "benchbench-mart": {"defenses": '"mart"'},
    "benchbench-pruning": {"dataset": '{ name = "pruned", base = { name = "digits", scale = 1 } }'},
    "benchbench-smoothing": {"defenses": '"gaussian-noise"', "metrics": ', { name = "certified-l2", n0 = 5, n = 20 }'},
    "benchbench-trades-ema": {"defenses": '"trades-ema"'},
}
ALL = distributions()
ADAPTERS = {"benchbench-robustbench"}  # useless without a package that pins another timm; their own tests make one up
CHOSEN = [one for one in ALL if one.name not in ADAPTERS]


def alone(distribution: Distribution, folder: Path) -> FreshEnvironment:
    """It is installed from a copy, which is then taken away: whatever runs is the installed one."""
    copy = shutil.copytree(distribution.folder, folder / "copy", ignore=shutil.ignore_patterns("__pycache__", "build"))
    environment = FreshEnvironment.with_distributions(folder / "environment", copy)
    shutil.rmtree(copy)
    return environment


def test_each_distribution_has_a_suite_that_uses_all_of_it() -> None:
    assert set(USES) == {distribution.name for distribution in ALL} - ADAPTERS
    for distribution in USES:
        offers, text = KNOWN[distribution], SUITE.format(**{**PLAIN, **USES[distribution]})
        kinds = [kind for kind in offers if kind not in ("executor", "suite")]
        assert [name for kind in kinds for name in offers[kind] if f'"{name}"' not in text] == []


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("distribution", CHOSEN, ids=lambda one: one.name)
def test_distribution_installed_alone_passes_its_tests_and_runs_in_a_suite(
    distribution: Distribution, tmp_path: Path
) -> None:
    environment = alone(distribution, tmp_path)
    listed = json.loads(environment.benchbench("plugins", "list", "--json").stdout)
    assert {plugin["distribution"] for plugin in listed} == {DISTRIBUTION, distribution.name}
    examined = environment.benchbench("plugins", "doctor")
    assert (examined.returncode, examined.stdout) == (0, "every plugin is healthy\n")

    tests = shutil.copytree(distribution.folder / "tests", tmp_path / "tests")
    tested = environment.python("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", tests, cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout

    suite = tmp_path / "alone.toml"
    suite.write_text(SUITE.format(**{**PLAIN, **USES[distribution.name]}), encoding="utf-8")
    executor = ("--executor", "dask") if distribution.name == "benchbench-dask" else ()
    ran = environment.benchbench("run", "--suite", suite, "--device", "cpu", "--quiet", *executor, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    rows = pq.read_table(tmp_path / "leaderboards" / "alone.parquet").to_pylist()
    assert rows
    assert {row["status"] for row in rows} == {"ok"}
    assert all(row["adv_test_accuracy"] is not None for row in rows)
    configurations = " ".join(row["configuration"] for row in rows)
    if distribution.name != "benchbench-dask":
        assert f'"distribution":"{distribution.name}"' in configurations
