"""Values of metrics beyond the columns: their names, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sample_rows import make_row

from benchbench.cli import invoke
from benchbench.contract import Evidence, Measurement, Offer, hookimpl
from benchbench.leaderboard.extras import extra_names, extras_of

SUITE = """
name = "extras"
protocol = "extras-1"
[[experiments]]
name = "one"
dataset = { name = "digits", scale = 1 }
architectures = [{ name = "mlp", hidden = [8] }]
defenses = ["natural"]
attacks = ["pgd-10"]
metrics = ["accuracy", "counting"]
threat = { epsilon = 0.1 }
recipe = { learning_rate = 0.01, epochs = 1 }
n_train = 40
n_test = 10
n_train_evaluated = 10
"""


class Counting:
    def measure(self, evidence: Evidence) -> Measurement:
        return Measurement(values={f"count_{number}": float(number) for number in range(10)})


class Plugin:
    @hookimpl
    def benchbench_metrics(self) -> list[Offer]:
        return [Offer(name="counting", summary="Toy.", factory=Counting)]


def test_columns_and_ends_of_intervals_are_no_extras() -> None:
    values = {"certified_accuracy": 0.5, "certified_accuracy_low": 0.4, "certified_accuracy_high": 0.6}
    row = make_row(extra={**values, "radius": 2.0, "test_mse_low": 0.1, "test_accuracy": 0.3, "tide_low": 1.5})
    assert extra_names([row]) == ("certified_accuracy", "radius", "tide_low")
    shown = {extra.name: (extra.text, extra.interval) for extra in extras_of(row)}
    assert shown == {
        "certified_accuracy": ("50.00 %", "[40.00 %, 60.00 %]"),
        "radius": ("2", ""),
        "tide_low": ("1.5", ""),
    }


def test_names_of_a_strangers_file_steer_no_terminal() -> None:
    (extra,) = extras_of(make_row(extra={"a\x1b[2Jb": 1.0}))
    assert extra.name.isprintable()


def test_run_names_the_extras_and_the_command_that_shows_them(
    tmp_path: Path, plant: Callable[[object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    plant(Plugin())
    file = tmp_path / "extras.toml"
    file.write_text(SUITE)
    folders = ["--runs", str(tmp_path / "runs"), "--leaderboards", str(tmp_path / "boards")]
    assert invoke(["run", "--suite", str(file), "--device", "cpu", "--quiet", *folders]) == 0
    shown = capsys.readouterr().err
    assert "also measured: count_0, count_1, " in shown
    assert "count_7 and 2 more" in shown
    command = shown.split("to see one: benchbench ")[1].split("\n")[0].split()
    assert invoke(command) == 0
    assert "count 0" in capsys.readouterr().out
