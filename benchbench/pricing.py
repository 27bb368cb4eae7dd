"""What a plan will cost: counted passes of each method times timed passes of each architecture, on this device."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import torch

from benchbench.cell import Cell, Component, to_json
from benchbench.cost import Passes, PassSeconds, attack_passes, time_passes, training_passes
from benchbench.harness import build_model
from benchbench.plan import Plan, PlannedCell
from benchbench.registry import Registry

_log = logging.getLogger(__name__)
LIPSCHITZ_LIKE = Passes(forward=11.0, backward=10.0)  # a metric that is no accuracy costs about one ten-step search


def price(plan: Plan, registry: Registry, device: torch.device) -> Plan:
    """Fill in the predicted seconds of the ready cells; training counts once per model."""
    pilot = _Pilot(plan, registry, device)
    trained: set[str] = set()
    cells: list[PlannedCell] = []
    for planned in plan.cells:
        if planned.status == "ready" and planned.cell is not None:
            seconds = pilot.seconds(planned.cell, trained=planned.cell.training.model_id in trained)
            trained.add(planned.cell.training.model_id)
            planned = dataclasses.replace(planned, estimate_seconds=seconds)
        cells.append(planned)
    return dataclasses.replace(plan, cells=tuple(cells))


class _Pilot:
    """Counts and times each component once."""

    def __init__(self, plan: Plan, registry: Registry, device: torch.device) -> None:
        self._plan = plan
        self._registry = registry
        self._device = device
        self._known: dict[tuple[str, ...], Any] = {}

    def seconds(self, cell: Cell, *, trained: bool) -> float | None:
        """Predicted seconds of a cell; None where its components cannot be tried, and for regressions, which are solved."""
        if self._plan.datasets.load(cell.training.dataset).splits.task == "regression":
            return None
        try:
            passes = self._passes(cell, trained=trained)
            return self._pass_seconds(cell).cost(passes)
        except Exception:  # a plugin may raise anything; whatever is wrong is told when the cell runs
            _log.debug("cell %s cannot be priced", cell.cell_id, exc_info=True)
            return None

    def _passes(self, cell: Cell, *, trained: bool) -> Passes:
        """All passes of a cell, over all examples."""
        training, evaluation = cell.training, cell.evaluation
        step = None if trained else self._training(cell)
        attack, examples = self._attack(cell), evaluation.n_test + evaluation.n_train_evaluated
        trained_examples = training.n_train * training.recipe.epochs if step else 0
        step = step or Passes(forward=0.0, backward=0.0)
        return Passes(
            forward=trained_examples * step.forward
            + examples * (attack.forward + 2.0)
            + evaluation.n_test * LIPSCHITZ_LIKE.forward,
            backward=trained_examples * step.backward
            + examples * attack.backward
            + evaluation.n_test * LIPSCHITZ_LIKE.backward,
        )

    def _training(self, cell: Cell) -> Passes | None:
        counted = self._counted("defense", cell.training.defense, cell, training_passes)
        return counted if isinstance(counted, Passes) else None

    def _attack(self, cell: Cell) -> Passes:
        counted: Passes = self._counted("attack", cell.evaluation.attack, cell, attack_passes)
        return counted

    def _counted(self, kind: str, component: Component, cell: Cell, count: Any) -> Any:
        splits = self._plan.datasets.load(cell.training.dataset).splits
        key = (kind, _key(component), _key(cell.training.dataset), to_json(cell.training.threat))
        return self._once(
            key,
            lambda: count(
                self._registry.make(component), splits.input_shape, len(splits.classes), cell.training.threat
            ),
        )

    def _pass_seconds(self, cell: Cell) -> PassSeconds:
        splits = self._plan.datasets.load(cell.training.dataset).splits
        key = ("architecture", _key(cell.training.architecture), _key(cell.training.dataset))
        measured: PassSeconds = self._once(
            key,
            lambda: time_passes(build_model(cell, splits, self._registry), splits.input_shape, self._device),
        )
        return measured

    def _once(self, key: tuple[str, ...], compute: Any) -> Any:
        if key not in self._known:
            try:
                self._known[key] = compute()
            except Exception as error:  # told by whoever asks, each time, and not tried again
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, Exception):
            raise found
        return found


def _key(component: Component) -> str:
    return to_json(component)
