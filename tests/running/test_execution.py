"""What is equal is computed once: under other labels a record is taken over, for other radii a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import benchbench
from benchbench.events import CellStarted, Event, Note, TrainingStarted
from benchbench.records import Row, RunStore

HEAD = """
name = "{name}"
protocol = "{protocol}"

[defaults]
architectures = [{{ name = "mlp", hidden = [8] }}]
defenses = ["natural", "gr", "at"]
attacks = ["pgd-10"]
metrics = ["accuracy", "adversarial-accuracy"]
recipe = {{ optimizer = "adam", learning_rate = 0.001, batch_size = 32, epochs = 2 }}
n_train = 64
n_train_evaluated = 32
n_test = 32
"""
EXPERIMENT = """
[[experiments]]
name = "{name}"
dataset = {{ name = "digits", scale = 1 }}
threat = {{ norm = "{norm}", epsilon = {epsilon} }}
"""
LABELS = ("suite", "profile", "protocol", "experiment", "cell_id", "configuration")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(folder: Path, suite: str, *balls: tuple[str, float], heard: list[Event] | None = None, **options: Any) -> Any:
    """Run a suite that has the balls as experiments, each (norm, epsilon)."""
    text = HEAD.format(name=suite, protocol=f"{suite}-1")
    for number, (norm, epsilon) in enumerate(balls):
        text += EXPERIMENT.format(name=f"{suite}-{number}", norm=norm, epsilon=epsilon)
    (folder / f"{suite}.toml").write_text(text)
    listener = (heard if heard is not None else []).append
    return benchbench.run(
        f"{suite}.toml",
        device="cpu",
        runs=folder / "runs",
        leaderboards=folder / "boards",
        listener=listener,
        **options,
    )


def results(row: Row) -> dict[str, Any]:
    """A row without its labels."""
    return {name: getattr(row, name) for name in Row.__dataclass_fields__ if name not in LABELS}


def test_finished_record_is_taken_over_under_other_labels(tmp_path: Path) -> None:
    first = run(tmp_path, "first", ("linf", 0.1))
    heard: list[Event] = []
    second = run(tmp_path, "second", ("linf", 0.1), heard=heard)
    assert (first.finished, second.finished) == (3, 0)
    assert not [event for event in heard if isinstance(event, (CellStarted, TrainingStarted))]
    assert {row.suite for row in second.rows} == {"second"}
    assert [results(row) for row in second.rows] == [results(row) for row in first.rows]
    assert not {row.cell_id for row in first.rows} & {row.cell_id for row in second.rows}
    store = RunStore(tmp_path / "runs")
    measured_on = [[store.weights_of(row.cell_id) for row in result.rows] for result in (first, second)]
    assert measured_on[0] == measured_on[1]
    assert all(measured_on[0])


def test_fresh_run_takes_nothing_over(tmp_path: Path) -> None:
    run(tmp_path, "first", ("linf", 0.1))
    assert run(tmp_path, "second", ("linf", 0.1), fresh=True).finished == 3


def test_damaged_evidence_is_not_taken_over(tmp_path: Path) -> None:
    run(tmp_path, "first", ("linf", 0.1))
    for path in (tmp_path / "runs" / "outcomes").iterdir():
        path.write_bytes(b"damaged")
    assert run(tmp_path, "second", ("linf", 0.1)).finished == 3


def test_methods_that_do_not_use_the_threat_are_trained_once_for_all_radii(tmp_path: Path) -> None:
    heard: list[Event] = []
    result = run(tmp_path, "radii", ("linf", 0.1), ("linf", 0.2), ("l2", 0.5), heard=heard)
    assert result.finished == 9
    models = {
        defense: {row.model_id for row in result.rows if row.defense == defense} for defense in ("natural", "gr", "at")
    }
    assert {defense: len(ids) for defense, ids in models.items()} == {"natural": 1, "gr": 1, "at": 3}
    assert len([event for event in heard if isinstance(event, TrainingStarted) and event.epoch == 0]) == 5
    assert not [event for event in heard if isinstance(event, Note) and "fail" in event.message]
    threats = {(row.defense, row.norm, row.epsilon): (row.train_norm, row.train_epsilon) for row in result.rows}
    assert threats["natural", "l2", 0.5] == ("", None)
    assert threats["gr", "linf", 0.2] == ("", None)
    assert threats["at", "l2", 0.5] == ("l2", 0.5)


def test_accuracy_falls_with_the_radius_of_one_model(tmp_path: Path) -> None:
    rows = run(tmp_path, "radii", ("linf", 0.01), ("linf", 0.1), ("linf", 0.3), only=["defense=natural"]).rows
    accuracy = [row.adv_test_accuracy for row in sorted(rows, key=lambda row: row.epsilon)]
    assert len({row.test_accuracy for row in rows}) == 1
    assert accuracy == sorted(accuracy, reverse=True)
    assert accuracy[0] > accuracy[-1]


def test_extending_suite_trains_and_attacks_only_what_is_new(tmp_path: Path) -> None:
    first = run(tmp_path, "first", ("linf", 0.1))
    change = '[[experiments]]\nname = "first-0"\nevaluation = [{}, { epsilon = 0.05 }]\n'
    text = f'name = "more"\nprotocol = "more-1"\nextends = "first.toml"\nseeds = [0, 1]\n{change}'
    (tmp_path / "more.toml").write_text(text)
    heard: list[Event] = []
    more = benchbench.run(
        "more.toml", device="cpu", runs=tmp_path / "runs", leaderboards=tmp_path / "boards", listener=heard.append
    )
    trained = [event for event in heard if isinstance(event, TrainingStarted) and event.epoch == 0]
    assert (len(more.rows), more.finished, len(trained)) == (12, 9, 3)  # of seed 1; the models of seed 0 are there
    known = {(row.defense, row.epsilon, row.seed): results(row) for row in more.rows}
    assert {key: known[key] for key in ((row.defense, row.epsilon, row.seed) for row in first.rows)} == {
        (row.defense, row.epsilon, row.seed): results(row) for row in first.rows
    }
    assert {row.train_epsilon for row in more.rows if row.defense == "at"} == {0.1}
    assert len({row.model_id for row in more.rows}) == 6
