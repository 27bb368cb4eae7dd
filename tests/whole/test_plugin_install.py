"""The example plugin, installed by pip as a stranger would, is found and runs in a suite without any change to benchbench."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fresh_environments import FreshEnvironment

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "benchbench-mart"

SUITE = """
name = "mart-on-digits"
protocol = "mart-on-digits-1"
title = "Is MART found, trained and ranked?"

[defaults]
architectures = [{ name = "mlp", hidden = [32] }]
attacks = ["pgd-10"]
metrics = ["accuracy", "adversarial-accuracy", "gaps"]
threat = { norm = "linf", epsilon = 0.1 }
recipe = { optimizer = "sgd", learning_rate = 0.001, momentum = 0.9, epochs = 30 }
n_train = 600
n_test = 150
n_train_evaluated = 150

[[experiments]]
name = "digits"
dataset = { name = "digits", scale = 1 }
defenses = ["natural", { name = "mart", lam = 2.0, steps = 5 }]
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> FreshEnvironment:
    """An environment that has the plugin."""
    return FreshEnvironment.with_distributions(tmp_path_factory.mktemp("environment"), PLUGIN)


def test_installed_plugin_is_listed_with_its_distribution(environment: FreshEnvironment, tmp_path: Path) -> None:
    finished = environment.benchbench("list", "defense", "--json", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    (mart,) = [entry for entry in json.loads(finished.stdout) if entry["name"] == "mart"]
    assert (mart["distribution"], mart["version"]) == ("benchbench-mart", "0.1.0")


def test_options_of_the_installed_plugin_are_shown(environment: FreshEnvironment, tmp_path: Path) -> None:
    finished = environment.benchbench("show", "defense", "mart", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    for option in ("lam", "steps", "step_ratio"):
        assert option in finished.stdout


@pytest.mark.exhaustive  # another process
def test_wrong_option_of_the_installed_plugin_is_a_suite_error(environment: FreshEnvironment, tmp_path: Path) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(SUITE.replace("lam = 2.0", "lamb = 2.0"), encoding="utf-8")
    finished = environment.benchbench("check", suite, cwd=tmp_path)
    assert finished.returncode == 2
    assert "lamb" in finished.stdout + finished.stderr
    assert "did you mean 'lam'" in finished.stdout + finished.stderr


def test_suite_trains_and_records_the_installed_defense(environment: FreshEnvironment, tmp_path: Path) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(SUITE, encoding="utf-8")
    folders = ("--runs", tmp_path / "runs", "--leaderboards", tmp_path / "leaderboards")
    finished = environment.benchbench("run", "--suite", suite, "--device", "cpu", "--quiet", *folders, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    rows = pq.read_table(tmp_path / "leaderboards" / "mart-on-digits.parquet").to_pylist()
    by_defense = {row["defense"]: row for row in rows}
    assert set(by_defense) == {"natural", "mart"}
    mart, natural = by_defense["mart"], by_defense["natural"]
    assert json.loads(mart["defense_options"]) == {"lam": 2.0, "step_ratio": 0.25, "steps": 5}
    assert mart["source"] == "measured"
    assert mart["test_accuracy"] > 0.7
    assert mart["adv_test_accuracy"] > natural["adv_test_accuracy"]


def test_host_without_the_plugin_does_not_know_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchbench", "show", "defense", "mart"]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    if finished.returncode == 0:
        pytest.skip("benchbench-mart is installed in this environment, too")
    assert finished.returncode == 2
    assert "unknown defense 'mart'" in finished.stderr
