"""What you edit is what runs: an installed plugin whose code changed between two runs is computed anew, and nothing else is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fresh_environments import FreshEnvironment

PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "benchbench-mart"
SUITE = """
name = "edits"
protocol = "edits-1"

[[experiments]]
name = "digits"
dataset = { name = "digits", scale = 1 }
architectures = [{ name = "mlp", hidden = [8] }]
defenses = ["natural", "mart"]
attacks = ["pgd-10"]
metrics = ["accuracy", "adversarial-accuracy"]
threat = { norm = "linf", epsilon = 0.1 }
recipe = { learning_rate = 0.001, epochs = 1 }
n_train = 64
n_test = 32
n_train_evaluated = 32
"""


EDITABLE = pytest.param(
    True,
    id="editable",
    marks=pytest.mark.exhaustive,
)


@pytest.fixture(scope="module", params=[EDITABLE, pytest.param(False, id="regular")])
def environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FreshEnvironment:
    """An environment that has a plugin of ours to edit."""
    folder = tmp_path_factory.mktemp("edits")
    shutil.copytree(PLUGIN, folder / "project")
    return FreshEnvironment.with_distributions(folder / "environment", folder / "project", editable=request.param)


def edit(environment: FreshEnvironment, old: str, new: str) -> None:
    """Change the installed source, wherever it is imported from."""
    program = "import importlib.util as u; print(u.find_spec('benchbench_mart').origin)"
    package = Path(environment.python("-c", program).stdout.strip()).parent
    (path,) = [path for path in package.glob("*.py") if old in path.read_text(encoding="utf-8")]
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


@pytest.mark.exhaustive
@pytest.mark.timeout(900)  # two installs by pip and some processes that import torch
def test_changed_code_is_computed_anew_and_a_changed_comment_is_not(
    environment: FreshEnvironment, tmp_path: Path
) -> None:
    (tmp_path / "edits.toml").write_text(SUITE, encoding="utf-8")
    folders = ("--runs", tmp_path / "runs", "--leaderboards", tmp_path / "leaderboards")

    def benchbench(command: str, *arguments: str | Path) -> dict[str, Any]:
        finished = environment.benchbench(
            command, "--suite", tmp_path / "edits.toml", "--device", "cpu", "--json", *arguments, cwd=tmp_path
        )
        assert finished.returncode == 0, finished.stderr
        document: dict[str, Any] = json.loads(finished.stdout)
        return document

    assert benchbench("run", *folders)["finished"] == 2
    edit(environment, "    def loss(", "    # A comment.\n\n    def loss(")
    edit(environment, '(Wang et al., ICLR 2020)."""', 'in other words."""')
    planned = benchbench("plan", *folders[:2])["cells"]
    assert [cell["status"] for cell in planned] == ["done", "done"]
    edit(environment, "step_ratio: float = 0.25", "step_ratio: float = 0.25 + 0")
    again = benchbench("run", *folders)
    assert (again["finished"], again["cells"]["done"]) == (1, 1)
    leaderboard = tmp_path / "leaderboards" / "edits.parquet"
    edit(environment, "0.25 + 0", "0.25 + 0 + 0")
    verified = environment.benchbench("verify", leaderboard, "--runs", tmp_path / "runs", "--json", cwd=tmp_path)
    rows = json.loads(verified.stdout)["rows"]
    assert {row["status"] for row in rows} == {"confirmed"}
    assert sorted(len(row["changed"]) for row in rows) == [0, 1, 1]
