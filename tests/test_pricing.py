"""Predicted durations: of every ready cell, training once per model, and never the reason that a run ends."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from benchbench import cost
from benchbench.cell import Cell
from benchbench.contract import DataSource, Offer, hookimpl
from benchbench.cost import PassSeconds
from benchbench.plan import Plan, make_plan
from benchbench.pricing import price
from benchbench.registry import Registry, load_registry
from benchbench.suite import suite_from_table

PASS = PassSeconds(forward=1.0, backward=1.0)


class Awkward:
    """A defense that cannot be tried."""

    def loss(self, *_: object, **__: object) -> None:
        """Raise what no one expects."""
        raise LookupError("not today")


class Plugin:
    """Offers it."""

    @hookimpl
    def benchbench_defenses(self) -> tuple[Offer, ...]:
        """The defense."""
        return (Offer(name="awkward", summary="cannot be tried", factory=Awkward),)


@pytest.fixture
def registry() -> Registry:
    return load_registry(extra_plugins=[Plugin()])


def plan_of(registry: Registry, tmp_path: Path, *, done: str = "", **settings: object) -> Plan:
    experiment = {
        "name": "digits",
        "dataset": {"name": "digits", "scale": 1},
        "architectures": [{"name": "mlp", "hidden": [8]}],
        "defenses": ["natural"],
        "attacks": ["pgd-10"],
        "metrics": ["accuracy"],
        "threat": {"epsilon": 0.1},
        "recipe": {"learning_rate": 0.001, "epochs": 2},
        "n_train": 100,
        "n_test": 10,
        "n_train_evaluated": 10,
        **settings,
    }
    suite = suite_from_table({"name": "tiny", "protocol": "tiny-1", "experiments": [experiment]}, registry)
    source = DataSource(root=tmp_path, cache=tmp_path)
    return make_plan(
        suite, registry, profile="paper", source=source, done=lambda cell_id: bool(done) and cell_id.startswith(done)
    )


def seconds(plan: Plan, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Predictions where a pass takes one second."""
    monkeypatch.setattr("benchbench.pricing.time_passes", lambda *_: PASS)
    return [planned.estimate_seconds for planned in price(plan, registry, torch.device("cpu")).cells]


def test_training_costs_its_passes_over_all_epochs(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (once,) = seconds(plan_of(registry, tmp_path), registry, monkeypatch)
    (longer,) = seconds(
        plan_of(registry, tmp_path, recipe={"learning_rate": 0.001, "epochs": 3}), registry, monkeypatch
    )
    assert once is not None
    assert longer is not None
    assert longer - once == pytest.approx(100 * 2.0)


def test_adversarial_training_costs_more(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    natural, at = seconds(plan_of(registry, tmp_path, defenses=["natural", "at"]), registry, monkeypatch)
    assert natural is not None
    assert at is not None
    assert at - natural == pytest.approx(2 * 100 * 10 * 2.0, rel=0.1)


def test_second_attack_on_a_model_costs_no_training(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(registry, tmp_path, defenses=["at"], attacks=["pgd-10", {"name": "pgd", "steps": 10}])
    first, second = seconds(plan, registry, monkeypatch)
    assert first is not None
    assert second is not None
    assert second < first / 2


def test_component_that_cannot_be_tried_leaves_its_cell_unpriced(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    awkward, natural = seconds(plan_of(registry, tmp_path, defenses=["awkward", "natural"]), registry, monkeypatch)
    assert awkward is None
    assert natural is not None


def test_attack_that_would_take_for_ever_is_not_priced_and_does_not_hold_up_the_plan(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "PILOT_SECONDS", 0.2)
    endless = [{"name": "pgd", "steps": 10**12}]
    trades = [{"name": "trades", "beta": beta} for beta in range(1, 6)]
    plan = plan_of(registry, tmp_path, attacks=endless, defenses=trades)
    began = time.monotonic()
    assert [planned.estimate_seconds for planned in price(plan, registry, torch.device("cpu")).cells] == [None] * 5
    assert time.monotonic() - began < 20.0


def test_done_cells_cost_nothing(registry: Registry, tmp_path: Path) -> None:
    cell = plan_of(registry, tmp_path).cells[0].cell
    assert isinstance(cell, Cell)
    priced = price(plan_of(registry, tmp_path, done=cell.cell_id), registry, torch.device("cpu"))
    assert [(planned.status, planned.estimate_seconds) for planned in priced.cells] == [("done", None)]


def test_pricing_times_passes_on_the_device(registry: Registry, tmp_path: Path) -> None:
    (planned,) = price(plan_of(registry, tmp_path), registry, torch.device("cpu")).cells
    assert planned.estimate_seconds is not None
    assert 0 < planned.estimate_seconds < 60
