"""Predicted durations: of every ready cell, training once per model, and never the reason that a run ends."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from benchbench.builtin.defenses.adversarial import AdversarialTraining
from benchbench.cell.model import Cell
from benchbench.contract import (
    BatchLoss,
    DatasetExtent,
    DatasetSplits,
    DataSource,
    Examples,
    KeyedGenerator,
    MissingDataError,
    Offer,
    Threat,
    TrainingHost,
    hookimpl,
)
from benchbench.errors import DataError, UsageError
from benchbench.evaluation.diagnostics import examine
from benchbench.evaluation.specimens import Attacked
from benchbench.evaluation.subject import place
from benchbench.evaluation.supervision import counting
from benchbench.planning import Bill, CellPrice, Plan, bill, bills, make_plan
from benchbench.pricing import cost
from benchbench.pricing.cells import DIAGNOSTICS, price, price_all
from benchbench.pricing.cost import PassSeconds
from benchbench.pricing.timings import read_timings, write_timings
from benchbench.records.building import Provenance, measured_row
from benchbench.registry import Registry, load_registry
from benchbench.suite import suite_from_table

PASS = PassSeconds(forward=1.0, backward=1.0, weights=1.0)


class Awkward:
    """A defense that cannot be tried."""

    def loss(self, *_: object, **__: object) -> None:
        """Raise what no one expects."""
        raise LookupError("not today")


class Helped:
    """Natural training, after a helper network's for three times as long, which labels the batches."""

    def prepare(self, host: TrainingHost) -> None:
        """Train the helper network by adversarial training of one step."""
        recipe = dataclasses.replace(host.recipe, epochs=3 * host.recipe.epochs, optimizer="adam")
        self.helper = host.train("helper", AdversarialTraining(steps=1), recipe)

    def loss(
        self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The cross-entropy."""
        with torch.no_grad():
            chosen = self.helper(images).argmax(1)
        return BatchLoss(loss=nn.functional.cross_entropy(model(images), chosen, reduction="sum"))


class Plugin:
    """Offers both."""

    @hookimpl
    def benchbench_defenses(self) -> tuple[Offer, ...]:
        """The defenses."""
        helped = Offer(name="helped", summary="has a helper network", factory=Helped)
        return (Offer(name="awkward", summary="cannot be tried", factory=Awkward), helped)


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
        suite, registry, profile="paper", source=source, done=lambda cell: bool(done) and cell.cell_id.startswith(done)
    )


@pytest.fixture(autouse=True)
def _only_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prices without what every step and every evaluation costs besides the passes of its components."""
    monkeypatch.setattr("benchbench.pricing.cells.DIAGNOSTICS", cost.Passes())
    monkeypatch.setattr("benchbench.pricing.cells.FIXED_SECONDS", 0.0)
    monkeypatch.setattr("benchbench.pricing.cells.STEP_SECONDS", 0.0)


def seconds(plan: Plan, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Predictions where a pass takes one second."""
    monkeypatch.setattr("benchbench.pricing.cells.time_passes", lambda *_: PASS)
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


def test_training_of_a_helper_network_is_part_of_the_price(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(registry, tmp_path, defenses=["natural", "helped"])
    natural, helped = seconds(plan, registry, monkeypatch)
    assert natural is not None
    assert helped is not None
    passes_of_helper = 2 + 1 + 1  # forward, backward to the images and to the weights
    assert helped - natural == pytest.approx(100 * 2 * (3 * passes_of_helper + 1))
    sizes = [of.price.checkpoint_bytes for of in price(plan, registry, torch.device("cpu")).cells if of.price]
    assert sizes[1] == 4 * sizes[0]  # two networks, and two moments of Adam's


@pytest.mark.parametrize(("defense", "passes"), [("natural", 1), ("at", 22)])
def test_scores_on_held_out_examples_are_part_of_the_price(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defense: str, passes: int
) -> None:
    recipe = {"learning_rate": 0.001, "epochs": 2}
    held_out = plan_of(registry, tmp_path, defenses=[defense], n_train=110, recipe=recipe | {"validation": 10})
    (scored,) = seconds(held_out, registry, monkeypatch)
    (plain,) = seconds(plan_of(registry, tmp_path, defenses=[defense], recipe=recipe), registry, monkeypatch)
    assert scored is not None
    assert plain is not None
    assert scored - plain == pytest.approx(2 * 10 * passes)


def test_second_attack_on_a_model_costs_no_training(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(registry, tmp_path, defenses=["at"], attacks=["pgd-10", {"name": "pgd", "steps": 10}])
    first, second = seconds(plan, registry, monkeypatch)
    assert first is not None
    assert second is not None
    assert second < first / 2


def test_model_that_is_trained_already_costs_no_training(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacks = ["pgd-10", {"name": "pgd", "steps": 10}]
    cell = plan_of(registry, tmp_path, defenses=["at"], attacks=attacks).cells[0].cell
    assert isinstance(cell, Cell)
    _, new = seconds(plan_of(registry, tmp_path, defenses=["at"], attacks=attacks), registry, monkeypatch)
    resumed = plan_of(registry, tmp_path, defenses=["at"], attacks=attacks, done=cell.cell_id)
    assert seconds(resumed, registry, monkeypatch) == [None, new]


def test_steps_and_evaluations_cost_more_than_their_passes(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(registry, tmp_path, recipe={"learning_rate": 0.001, "epochs": 2, "batch_size": 30})
    (before,) = seconds(plan, registry, monkeypatch)
    monkeypatch.setattr("benchbench.pricing.cells.STEP_SECONDS", 10.0)
    monkeypatch.setattr("benchbench.pricing.cells.FIXED_SECONDS", 5.0)
    (after,) = seconds(plan, registry, monkeypatch)
    assert before is not None
    assert after == before + 5.0 + 2 * 4 * 10.0  # 100 examples in batches of 30, two epochs


def test_time_that_other_work_takes_leaves_no_cell_without_a_price(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10**6, 3))  # a busy machine: three seconds pass between any two looks at the clock
    monkeypatch.setattr(cost.time, "monotonic", lambda: float(next(clock)))
    (found,) = seconds(plan_of(registry, tmp_path), registry, monkeypatch)
    assert found is not None


def test_diagnostics_cost_what_they_compute() -> None:
    model = Unbreakable().eval()
    images = torch.randint(0, 256, (1000, 1, 8, 8), dtype=torch.uint8)
    labels = torch.zeros(1000, dtype=torch.int64)
    rows = torch.arange(1000)
    test = place("test", Examples(inputs=images, labels=labels), rows, torch.device("cpu"))
    with counting(model) as counted:
        examine(
            Attacked(
                model=model,
                threat=Threat(epsilon=0.1),
                test=test,
                seed=0,
                prediction=labels,
                robust=torch.ones(1000, dtype=torch.bool),
                candidates=images.float() / 255,
                uses_gradients=True,
            )
        )
    assert counted.forward == pytest.approx(DIAGNOSTICS.forward, rel=0.2)
    assert counted.gradient == pytest.approx(DIAGNOSTICS.backward, rel=0.2)


class Unbreakable(nn.Module):
    """Says class 0 whatever it sees; its answers depend a little on the image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return torch.eye(10)[0] * 10 + images.flatten(1)[:, :10] * 1e-3


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


EXTENT = DatasetExtent(train=1000, test=100, input_shape=(1, 8, 8), classes=10)


class Absent:
    """A dataset of known size that nobody has."""

    def load(self, source: DataSource) -> DatasetSplits:
        """Find nothing."""
        raise MissingDataError("absent: no files", fetch="fetch them")

    def extent(self) -> DatasetExtent:
        """Known all the same."""
        return EXTENT


class AbsentPlugin:
    """Offers it."""

    @hookimpl
    def benchbench_datasets(self) -> tuple[Offer, ...]:
        """The dataset."""
        return (Offer(name="absent", summary="known, but not there", factory=Absent),)


def test_cells_without_data_are_priced_by_the_size_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = load_registry(extra_plugins=[AbsentPlugin()])
    monkeypatch.setattr("benchbench.pricing.cells.time_passes", lambda *_: PASS)
    sizes: dict[str, object] = {"n_train": 200, "n_test": 50, "n_train_evaluated": 5000}
    plan = plan_of(registry, tmp_path, dataset="absent", metrics=["accuracy", "lipschitz"], **sizes)
    priced = price_all(plan, registry, torch.device("cpu")).plan
    (planned,) = priced.cells
    assert planned.status == "skipped"
    assert planned.estimate_seconds is None
    assert planned.price is not None
    assert planned.price.train_seconds == 2 * 200 * 2.0
    assert planned.price.evaluate_seconds == (200 + 50) * (20.0 + 2.0) + 50 * (12.0 + 10.0)
    parameters = 4 * (64 * 8 + 8 + 8 * 10 + 10)
    assert planned.price.checkpoint_bytes == parameters
    assert planned.price.record_bytes == 50 * (4 * 64 + 64)
    assert planned.price.memory_bytes is not None
    assert planned.price.memory_bytes > 1100 * 64 + 2 * parameters
    assert bill(priced.cells) == bills(priced.cells)["digits"]


def test_cells_that_the_suite_leaves_out_cost_nothing(registry: Registry, tmp_path: Path) -> None:
    plan = plan_of(registry, tmp_path, skip="not today")
    priced = price_all(plan, registry, torch.device("cpu")).plan
    assert [planned.price for planned in priced.cells] == [None]
    assert bill(priced.cells).cells == 0
    assert bills(priced.cells) == {}


def test_prices_for_another_device_come_from_its_timings_alone(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchbench.pricing.cells.time_passes", lambda *_: PASS)
    here = price_all(plan_of(registry, tmp_path), registry, torch.device("cpu"))
    twice = PassSeconds(forward=2.0, backward=2.0, weights=2.0)
    models = [dataclasses.replace(model, seconds=twice) for model in here.timed]
    write_timings(tmp_path / "timings.json", "cuda (slower)", models)
    monkeypatch.setattr("benchbench.pricing.cells.time_passes", None)  # nothing is timed here
    timings = read_timings(tmp_path / "timings.json")
    there = price_all(plan_of(registry, tmp_path), registry, torch.device("cpu"), timings=timings)
    prices = [(a.price, b.price) for a, b in zip(here.plan.cells, there.plan.cells, strict=True)]
    assert all(a and b and b.seconds == pytest.approx(2 * a.seconds) and b.origin == "given" for a, b in prices)
    other = plan_of(registry, tmp_path, architectures=[{"name": "mlp", "hidden": [9]}])
    assert price_all(other, registry, torch.device("cpu"), timings=timings).plan.cells[0].price is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"device": "x"}',
        '{"device": "x", "passes": [{}]}',
        '{"device": 3, "passes": []}',
        '{"device": "x", "passes": [{"architecture": {"name": "mlp", "options": {}}, "input_shape": [1], "classes": 2, '
        '"seconds": {"forward": -1, "backward": 1, "weights": 1}, "bytes": {"parameters": 1, "state": 1, "activations": 1}}]}',
    ],
)
def test_a_file_without_timings_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "timings.json").write_text(text)
    with pytest.raises(DataError, match="holds no timings"):
        read_timings(tmp_path / "timings.json")
    with pytest.raises(UsageError, match="is no file"):
        read_timings(tmp_path / "elsewhere.json")


def test_done_cells_cost_what_was_measured(registry: Registry, tmp_path: Path) -> None:
    plan = plan_of(registry, tmp_path, attacks=["pgd-10", "mt-20"])
    cells = [planned.cell for planned in plan.cells if planned.cell]
    rows = {
        cell.cell_id: measured_row(
            cell, values={}, provenance=Provenance(train_seconds=30.0, evaluate_seconds=5.0, peak_memory_bytes=7)
        )
        for cell in cells
    }
    done = dataclasses.replace(plan, cells=tuple(dataclasses.replace(c, status="done") for c in plan.cells))
    priced = price_all(done, registry, torch.device("cpu"), record=rows.get).plan
    found = [(c.price.train_seconds, c.price.evaluate_seconds, c.price.origin) for c in priced.cells if c.price]
    assert found == [(30.0, 5.0, "measured"), (0.0, 5.0, "measured")]


def test_bill_adds_up_what_cells_cost_and_says_which_costs_most(registry: Registry, tmp_path: Path) -> None:
    plan = plan_of(registry, tmp_path, attacks=["pgd-10", "mt-20", "pgd"])
    prices = (
        CellPrice(
            train_seconds=30.0,
            evaluate_seconds=5.0,
            memory_bytes=9,
            checkpoint_bytes=100,
            record_bytes=7,
            origin="timed",
        ),
        CellPrice(train_seconds=0.0, evaluate_seconds=20.0, memory_bytes=11, record_bytes=8, origin="timed"),
        None,
    )
    cells = [dataclasses.replace(one, price=price) for one, price in zip(plan.cells, prices, strict=True)]
    assert bill(cells) == Bill(
        cells=3, models=1, unpriced=1, seconds=55.0, longest_seconds=35.0, memory_bytes=11, storage_bytes=115
    )


@pytest.mark.parametrize("name", ["mnist", "svhn", "cifar-10", "restricted-imagenet"])
def test_datasets_of_the_paper_say_how_large_they_are(name: str) -> None:
    extent = load_registry().make("dataset", load_registry().resolve("dataset", name, {})).extent()
    published = {"mnist": 60_000, "svhn": 73_257, "cifar-10": 50_000, "restricted-imagenet": 257_748}  # the protocol's
    assert extent.train == published[name]
