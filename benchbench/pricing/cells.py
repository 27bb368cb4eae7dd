"""The price of a plan: counted passes of methods times timed passes of architectures.

Passes are timed on this device, or on another one and read from a file; finished cells cost what was measured.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

import torch

from benchbench.cell.model import Cell, Component, TrainingSpec, to_json
from benchbench.contract import DatasetExtent, Recipe, Threat
from benchbench.errors import PLUGIN_FAULTS
from benchbench.evaluation.subject import default_batch_size
from benchbench.harness.cells import initialise
from benchbench.planning import CellPrice, Plan, PlannedCell
from benchbench.pricing.cost import (
    Passes,
    PassSeconds,
    Phase,
    attack_passes,
    metric_passes,
    time_passes,
    training_phases,
    weigh,
)
from benchbench.pricing.timings import TimedModel, Timings, model_key
from benchbench.records import Row
from benchbench.registry import Registry

_Made = TypeVar("_Made")
_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)
_SCORES = Passes(forward=12.0, backward=10.0)  # of a validation example: the clean prediction, PGD-10 and its check
_CHECKS = Passes(forward=2.0)  # the clean prediction, and the harness's check of a candidate
DIAGNOSTICS = Passes(forward=11_700.0, backward=2_400.0)  # of images, where none breaks the model
FIXED_SECONDS = 1.0  # of each evaluation: the substitute of the diagnostics, bootstrap intervals, files
STEP_SECONDS = 0.002  # of each step of training besides its passes: draws, optimiser, sums
_MOMENTS = {"none": 0, "sgd": 0, "adam": 2}  # tensors that an optimiser keeps for each weight, without SGD's momentum
OUTCOME_BYTES = 64  # columns of one test example: four integers, two booleans, a few ratios


def price(plan: Plan, registry: Registry, device: torch.device) -> Plan:
    """Fill in the predicted seconds of the ready cells; training counts once per model."""
    pricing = Pricing(plan, registry, device)
    pricing.paid.update(p.cell.training.model_id for p in plan.cells if p.status == "done" and p.cell)
    priced = (pricing.price(planned.cell) if planned.status == "ready" else None for planned in plan.cells)
    return dataclasses.replace(plan, cells=tuple(map(_with_price, plan.cells, priced)))


def price_all(
    plan: Plan,
    registry: Registry,
    device: torch.device,
    *,
    timings: Timings | None = None,
    record: Callable[[str], Row | None] = lambda cell_id: None,
) -> PricedPlan:
    """Price every cell of the profile, also those whose data are missing.

    Passes are timed on the device, unless `timings` of another device are given. `record` returns the row of a finished cell,
    by its id.
    """
    pricing = Pricing(plan, registry, device, timings)
    cells = []
    for planned in plan.cells:
        row = record(planned.cell.cell_id) if planned.status == "done" and planned.cell and timings is None else None
        price = pricing.measured(row) if row is not None and row.train_seconds is not None else None
        cells.append(_with_price(planned, price or pricing.price(planned.known)))
    return PricedPlan(plan=dataclasses.replace(plan, cells=tuple(cells)), timed=tuple(pricing.timed.values()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PricedPlan:
    """A plan with prices, and the timed passes behind them."""

    plan: Plan
    timed: tuple[TimedModel, ...]


class Pricing:
    """Counts and times each component once; the first cell of a model pays for its training."""

    def __init__(self, plan: Plan, registry: Registry, device: torch.device, timings: Timings | None = None) -> None:
        self._datasets = plan.datasets
        self._registry = registry
        self._device = device
        self._given = timings
        self.timed: dict[str, TimedModel] = {}
        self._known: dict[tuple[object, ...], object] = {}
        self.paid: set[str] = set()  # models whose training has a price already, or is over

    def price(self, cell: Cell | None) -> CellPrice | None:
        """The price of a cell; None if there is none.

        Regressions, which are solved, have no price, nor do cells that are unknown or whose components cannot be tried.
        """
        if cell is None:
            return None
        try:
            extent = self._datasets.extent(cell.training.dataset)
            return None if extent is None else self._price(cell, extent)
        except PLUGIN_FAULTS:  # the error is shown when the cell runs
            _log.debug("cell %s cannot be priced", cell.cell_id, exc_info=True)
            return None

    def measured(self, row: Row) -> CellPrice:
        """The price of a finished cell."""
        train = 0.0 if row.model_id in self.paid else row.train_seconds or 0.0
        self.paid.add(row.model_id)
        return CellPrice(
            train_seconds=train,
            evaluate_seconds=row.evaluate_seconds or 0.0,
            memory_bytes=row.peak_memory_bytes,
            origin="measured",
        )

    def _price(self, cell: Cell, extent: DatasetExtent) -> CellPrice | None:
        model = self._model(cell, extent)
        if model is None:
            return None
        training, recipe = cell.training, cell.training.recipe
        make = self._registry.make
        count = partial(training_phases, recipe=recipe)
        phases = self._counted(training.defense, cell, extent, count, lambda one: make("defense", one), recipe)
        paid = training.model_id in self.paid
        self.paid.add(training.model_id)
        inputs = 4 * math.prod(extent.input_shape)
        moments = [_MOMENTS[phase.recipe.optimizer] + (phase.recipe.momentum > 0) for phase in phases]
        return CellPrice(
            train_seconds=0.0 if paid else sum(_seconds(phase, training, model.seconds) for phase in phases),
            evaluate_seconds=model.seconds.cost(self._evaluation(cell, extent)) + FIXED_SECONDS,
            memory_bytes=self._memory(cell, extent, model, moments),
            checkpoint_bytes=0 if paid else sum(model.size.state + of * model.size.parameters for of in moments),
            record_bytes=cell.evaluation.n_test * (inputs + OUTCOME_BYTES),
            origin="given" if self._given else "timed",
        )

    def _evaluation(self, cell: Cell, extent: DatasetExtent) -> Passes:
        """All passes of an evaluation."""
        spec, make = cell.evaluation, self._registry.make
        attack = self._counted(spec.attack, cell, extent, attack_passes, lambda attack: make("attack", attack))
        passes = (attack + _CHECKS).times(spec.n_test + spec.n_train_evaluated) + DIAGNOSTICS
        for metric in spec.metrics:
            counted = self._counted(metric, cell, extent, metric_passes, lambda metric: make("metric", metric))
            passes += counted.times(spec.n_test)
        return passes

    def _memory(self, cell: Cell, extent: DatasetExtent, model: TimedModel, moments: list[int]) -> int:
        """A lower bound in bytes: dataset, weights, gradients, moments, and a batch's activations.

        `moments` are those of each training of the cell.
        """
        data = (extent.bytes_per_input or math.prod(extent.input_shape)) * (extent.train + extent.test)
        device = torch.device("cuda") if self._given and self._given.device.startswith("cuda") else self._device
        evaluating = model.size.parameters + default_batch_size(device) * model.size.activations
        batch = cell.training.recipe.batch_size * model.size.activations
        training = (2 + max(moments)) * model.size.parameters + batch if moments else 0
        return data + max(evaluating, training)

    def _counted(
        self,
        component: Component,
        cell: Cell,
        extent: DatasetExtent,
        count: Callable[[_Made, tuple[int, ...], int, Threat], _Result],
        make: Callable[[Component], _Made],
        recipe: Recipe | None = None,
    ) -> _Result:
        threat = cell.evaluation.threat
        key = (component.kind, to_json(component), extent, threat, recipe)
        return self._once(key, lambda: count(make(component), extent.input_shape, extent.classes, threat))

    def _model(self, cell: Cell, extent: DatasetExtent) -> TimedModel | None:
        """The passes of a cell's architecture: given, or timed here."""
        architecture = cell.training.architecture
        key = model_key(architecture, extent.input_shape, extent.classes)
        if self._given is not None:
            return self._given.models.get(key)
        found = self._once(("architecture", key), lambda: self._time(cell, extent))
        self.timed[key] = found
        return found

    def _time(self, cell: Cell, extent: DatasetExtent) -> TimedModel:
        model = initialise(cell.training, extent.input_shape, extent.classes, self._registry)
        return TimedModel(
            architecture=cell.training.architecture,
            input_shape=extent.input_shape,
            classes=extent.classes,
            seconds=time_passes(model, extent.input_shape, self._device),
            size=weigh(model, extent.input_shape, self._device),
        )

    def _once(self, key: tuple[object, ...], compute: Callable[[], _Result]) -> _Result:
        """Compute the result for a key once; later calls return it, or raise its exception again."""
        if key not in self._known:
            try:
                self._known[key] = compute()
            except PLUGIN_FAULTS as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, PLUGIN_FAULTS):
            raise found
        return cast(_Result, found)  # a key begins with the kind, which decides the type


def _seconds(phase: Phase, training: TrainingSpec, seconds: PassSeconds) -> float:
    """What a training costs, with the scores on the validation split after each epoch."""
    recipe = phase.recipe
    steps = math.ceil(training.n_train / recipe.batch_size) * recipe.epochs
    scores = (_SCORES if training.threat else Passes(forward=1.0)).times(training.n_validation * recipe.epochs)
    return seconds.cost(phase.passes.times(training.n_train * recipe.epochs) + scores) + STEP_SECONDS * steps


def _with_price(planned: PlannedCell, price: CellPrice | None) -> PlannedCell:
    estimate = price.seconds if price and planned.status == "ready" else None
    return dataclasses.replace(planned, price=price, estimate_seconds=estimate)
