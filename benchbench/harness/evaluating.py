"""Evaluates a cell, alone or together with other processes that compute some of its shards."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from benchbench.cell.model import ID_LENGTH, Cell, Component, digest, stated_fields, to_json
from benchbench.contract.evaluation import RegressionMetric
from benchbench.data import crop_to, subset
from benchbench.evaluation import ATTACKED, Columns, Outcome, Subject, evaluate, evaluate_regression
from benchbench.evaluation.memory import Sharing
from benchbench.evaluation.subject import default_batch_size
from benchbench.evaluation.supervision import leaving
from benchbench.events import Event, Note
from benchbench.harness.sharing import ClaimedShards, EvaluationOverError, Notice
from benchbench.harness.workbench import Workbench
from benchbench.kernels.shrinking import within_memory
from benchbench.records import Row, RunStore, provenance
from benchbench.training.checkpoint import weights_digest

NOTED = frozenset({"evaluation_batch_size", "training_part_size"})  # what the harness itself adds to a row's `extra`
PARTS = 2  # version of the cached parts; version 1 shared what the attack did between attacks


def evaluate_cell(cell: Cell, model: nn.Module, bench: Workbench, *, helping: bool = False) -> Outcome:
    """Attack and measure a trained model, together with other processes if there are any.

    When `helping`, another process owns the evaluation, and this one computes some of its shards, until an EvaluationOverError.
    """
    with _shared(cell, model, bench, helping=helping) as (sharing, cache):
        spec, splits = cell.evaluation, bench.splits(cell.training.dataset)
        train_set = subset(crop_to(splits.train, splits.input_shape), max(spec.n_train_evaluated, 1), "train")
        test_set = subset(splits.test, spec.n_test, "test")
        named = _named(spec.metrics)
        subject: Subject = {
            "model": model,
            "train": train_set.examples,
            "test": test_set.examples,
            "threat": spec.threat,
            "attack": bench.registry.make("attack", spec.attack),
            "attack_name": spec.attack.name,
            "seed": cell.seed,
            "device": bench.device,
            "columns": Columns(
                fills={name: bench.registry.capabilities(metric).fills for name, metric in named.items()},
                reserved=frozenset(column.name for column in dataclasses.fields(Row)) | NOTED,
            ),
        }
        metrics = {name: bench.registry.make("metric", metric) for name, metric in named.items()}
        if splits.task == "regression":  # the plan has checked that these metrics are for regression
            return evaluate_regression(**subject, metrics=cast("Mapping[str, RegressionMetric]", metrics))

        def listen(event: Event) -> None:
            bench.listener(event)
            bench.stop.check()

        whole = default_batch_size(bench.device)
        with leaving(model, bench.stop):
            for attempt in within_memory(whole, lambda text: bench.listener(Note(message=f"  {text}"))):
                with attempt as size:
                    outcome = evaluate(
                        **subject,
                        metrics=metrics,
                        train_rows=train_set.indices,
                        test_rows=test_set.indices,
                        classes=len(splits.classes),
                        batch_size=size,
                        listener=listen,
                        cache=cache,
                        precision=spec.precision,
                        sharing=sharing,
                    )
    noted = {"evaluation_batch_size": float(size)} if size < whole else {}
    counted = test_accuracies(outcome) if cell.training.weights else {}
    return dataclasses.replace(outcome, values={**counted, **outcome.values, **noted})


def test_accuracies(outcome: Outcome) -> dict[str, float]:
    """The test accuracies, which a model that was trained elsewhere has under any metrics."""
    columns = {"test_accuracy": "correct", "adv_test_accuracy": "robust"}
    found = ((name, outcome.per_example[column]) for name, column in columns.items())
    return {name: int(hits.sum()) / len(hits) for name, hits in found}


@contextmanager
def _shared(
    cell: Cell, model: nn.Module, bench: Workbench, *, helping: bool
) -> Iterator[tuple[Sharing | None, ModelMeasurements | None]]:
    """How processes divide an evaluation, and the cache of its measurements, if any."""
    if not helping and bench.ranks is not None and bench.fresh:  # processes without ranks measure under `part_of`
        measurements_of(cell, bench).forget()
    kept, notice = measurements_of(cell, bench, model), _notice(cell, bench)
    if helping:
        if bench.claims is None or not notice.is_posted():
            raise EvaluationOverError
        yield ClaimedShards(claims=bench.claims, scope=kept.scope, stop=bench.stop, notice=notice), kept
    elif bench.claims is None or (bench.fresh and bench.ranks is None and not bench.part_of):
        yield None, None if bench.fresh else kept
    else:
        with notice.posted():
            if bench.ranks is not None:
                bench.ranks.order({"evaluate": to_json(cell)})
            yield ClaimedShards(claims=bench.claims, scope=kept.scope, stop=bench.stop), kept


def is_open(cell: Cell, bench: Workbench) -> bool:
    """Whether another process evaluates a cell in a way that this one could help with."""
    return bench.claims is not None and _notice(cell, bench).is_posted()


def _notice(cell: Cell, bench: Workbench) -> Notice:
    # outcomes may differ in bits between devices, numbers of threads and batch sizes
    device = provenance.describe_device(bench.device)
    setting = f"{device}, batches of {default_batch_size(bench.device)}{_fresh_part(bench)}"
    return Notice(path=bench.store.root / "evaluations" / f"{cell.cell_id}.json", setting=setting)


def measurements_of(cell: Cell, bench: Workbench, model: nn.Module | None = None) -> ModelMeasurements:
    """A cell's measurements on a model (None to drop them), maybe of one fresh run only."""
    weights = "" if model is None else weights_digest(model.state_dict())
    return ModelMeasurements(bench.store, cell, _fresh_part(bench), weights)


def _fresh_part(bench: Workbench) -> str:
    return bench.part_of if bench.fresh else ""


def _named(components: Sequence[Component]) -> dict[str, Component]:
    """Components by name, or by name and options if several share the name."""
    shared = Counter(component.name for component in components)
    return {
        c.name if shared[c.name] == 1 else f"{c.name} {to_json(c.options, identifying=True)}": c for c in components
    }


class ModelMeasurements:
    """The evaluation's cache; parts that do not depend on the attack serve all attacks.

    A fresh run `part_of` several processes keeps its measurements separate. `weights` is the digest of the model's weights, for
    a fresh run on another machine may train different ones under the same model id; it is empty to drop measurements.
    """

    def __init__(self, store: RunStore, cell: Cell, part_of: str = "", weights: str = "") -> None:
        self._measurements, self._weights = store.measurements, weights
        own = {"part_of": part_of} if part_of else {}
        identity = {"model": cell.training.model_id, "evaluation": cell.evaluation, "parts": PARTS, **own}
        self._attacked = digest(identity)
        alone = {name: value for name, value in stated_fields(cell.evaluation).items() if name != "attack"}
        self._alone = digest({**identity, "evaluation": alone})

    @property
    def scope(self) -> str:
        """A name for this evaluation."""
        return f"{self._attacked}-{self._weights[:ID_LENGTH]}"

    def get(self, key: str) -> dict[str, torch.Tensor] | None:
        """The part of a key, or None."""
        found = (self._measurements.get(f"{scope}/{self._weights}/{key}") for scope in (self._alone, self._attacked))
        return next((part for part in found if part), None)

    def put(self, key: str, value: dict[str, torch.Tensor]) -> None:
        """Keep a part: for all cells of the model, or for this attack if it depends on the attack."""
        scope = self._attacked if value[ATTACKED] else self._alone
        self._measurements.put(f"{scope}/{self._weights}/{key}", value)

    def forget(self) -> None:
        """Drop the measurements of earlier runs."""
        self._measurements.discard(self._attacked)
        self._measurements.discard(self._alone)

    def finish(self) -> None:
        """Drop the parts that only an interrupted evaluation needs."""
        self._measurements.discard(self._attacked)
