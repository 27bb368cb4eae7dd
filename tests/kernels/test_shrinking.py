"""Out of memory: batches shrink, results stay, the size is recorded; what cannot be divided fails with a clear message."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_processes import rows, run, write_suite
from torch import Tensor, nn

import benchbench.harness.cells
from benchbench.contract import BatchLoss, Examples, KeyedGenerator, Threat
from benchbench.contract.recipe import Recipe
from benchbench.errors import TrainingError
from benchbench.events import Event, Note
from benchbench.harness.cells import build_model
from benchbench.kernels.shrinking import within_memory
from benchbench.training.job import TrainingJob
from benchbench.training.loop import TrainedModel, train

SHORT = torch.OutOfMemoryError("CUDA out of memory")


def sizes_tried(limit: int, report: Callable[[str], None] = lambda _: None, error: Exception = SHORT) -> list[int]:
    """The sizes tried from 64 on, on a device with memory for `limit` examples."""
    tried = []
    for attempt in within_memory(64, report):
        with attempt as size:
            tried.append(size)
            if size > limit:
                raise error
    return tried


def test_size_halves_until_the_memory_suffices() -> None:
    said: list[str] = []
    assert sizes_tried(20, said.append) == [64, 32, 16]
    assert said == [f"out of memory: trying again with {size} examples at once" for size in (32, 16)]


def test_memory_too_small_for_one_example_is_a_failure() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        sizes_tried(0)


def test_other_errors_end_the_attempts() -> None:
    with pytest.raises(ValueError, match="once"):
        sizes_tried(0, error=ValueError("once"))


class Hungry:
    """Cross-entropy with keyed noise; more than so many examples are too many for the memory."""

    limit = 1000

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """Leaves a gradient of its own behind, as a defense may."""
        if len(images) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        logits = model(images + 0.1 * generator.normal_like(images))
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
        model(images).sum().backward()
        return BatchLoss(loss=loss, logits=logits)


class OwnStep:
    """A defense that takes its own steps."""

    def step(self, model: nn.Module, *_: object, **__: object) -> BatchLoss:
        """Fails."""
        raise torch.OutOfMemoryError("CUDA out of memory")


class Stateful(Hungry):
    """A defense with a state."""

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Nothing."""


def trained(defense: Any, limit: int, *extra: nn.Module, told: list[Event] | None = None) -> TrainedModel:
    """A small model in float64, so that sums in another order hardly differ."""
    Hungry.limit = limit
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 5), *extra, nn.ReLU(), nn.Linear(5, 3))
        examples = Examples(inputs=torch.randn(50, 6), labels=torch.randint(0, 3, (50,)))
    job = TrainingJob(
        model=model,
        defense=defense,
        examples=examples,
        rows=torch.arange(50),
        threat=Threat(epsilon=0.1),
        recipe=Recipe(learning_rate=1e-2, momentum=0.9, epochs=4, batch_size=16),
        seed=0,
        device=torch.device("cpu"),
    )
    return train(job, listener=(told if told is not None else []).append)


@pytest.mark.parametrize("limit", [15, 8, 3, 1])
def test_batch_in_parts_gives_the_same_model_up_to_rounding(limit: int) -> None:
    told: list[Event] = []
    whole, parts = trained(Hungry(), 1000), trained(Hungry(), limit, told=told)
    assert whole.part_size == 0
    assert limit / 2 < parts.part_size <= limit
    for ours, theirs in zip(parts.model.parameters(), whole.model.parameters()):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(parts.history, whole.history):
        assert ours.accuracy == theirs.accuracy
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
    retries = [event.message for event in told if isinstance(event, Note)]
    assert len(set(retries)) == len(retries)  # the size is found once


@pytest.mark.parametrize(
    ("defense", "extra", "told"),
    [
        (Hungry(), (nn.BatchNorm1d(5),), "batch normalisation"),
        (Hungry(), (nn.Dropout(0.5),), "dropout"),
        (OwnStep(), (), "its own optimiser steps"),
        (Stateful(), (), "state from batch to batch"),
    ],
)
def test_batch_that_cannot_be_divided_fails_and_says_why(defense: Any, extra: tuple[nn.Module, ...], told: str) -> None:
    with pytest.raises(TrainingError, match=f"out of memory, and the batch cannot be divided because .*{told}"):
        trained(defense, 10, *extra)


def test_dropout_that_drops_nothing_is_no_obstacle() -> None:
    assert trained(Hungry(), 8, nn.Dropout(0.0)).part_size == 8


@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"device": "cuda", "cuda_graphs": True}, marks=pytest.mark.cuda)],
    ids=["plainly", "by CUDA graphs"],
)
def test_cell_computed_in_smaller_batches_has_the_same_row_with_the_sizes(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("whole", "parts"):
        write_suite(tmp_path / place, attacks=["pgd-10"], metrics=["accuracy", "adversarial-accuracy", "lipschitz"])
    run(tmp_path / "whole", **options)

    def refuse(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if len(arguments[0]) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def build(*arguments: Any) -> nn.Module:
        model = build_model(*arguments)
        model.register_forward_pre_hook(refuse)
        return model

    monkeypatch.setattr(benchbench.harness.cells, "build_model", build)
    told: list[Event] = []
    result = run(tmp_path / "parts", told.append, **options)
    assert result.failed == 0
    for ours, theirs in zip(rows(tmp_path / "parts"), rows(tmp_path / "whole"), strict=True):
        assert ours.extra == {"evaluation_batch_size": 8.0, "training_part_size": 8.0}
        for name in ("test_accuracy", "adv_test_accuracy", "test_lipschitz"):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-3)
        assert dataclasses.replace(ours, extra={}).cell_id == theirs.cell_id
    assert any("out of memory" in event.message for event in told if isinstance(event, Note))
