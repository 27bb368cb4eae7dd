from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from benchbench.contract.recipe import Augmentation, Recipe
from benchbench.errors import OptionError


def test_learning_rate_falls_by_the_factor_after_each_decay_epoch() -> None:
    recipe = Recipe(learning_rate=1e-4, epochs=160, decay_epochs=(40, 80, 120, 140))
    rates = {epoch: recipe.learning_rate_at(epoch) for epoch in (0, 39, 40, 79, 80, 119, 120, 139, 140, 159)}
    expected = {0: 1e-4, 39: 1e-4, 40: 1e-5, 79: 1e-5, 80: 1e-6, 119: 1e-6, 120: 1e-7, 139: 1e-7, 140: 1e-8, 159: 1e-8}
    assert rates == pytest.approx(expected)


def test_every_mistake_of_a_recipe_is_reported_together() -> None:
    with pytest.raises(OptionError) as caught:
        Recipe(learning_rate=-1.0, epochs=0, momentum=1.0, decay_epochs=(3, 2))
    for field in ("learning_rate", "epochs", "momentum", "decay_epochs"):
        assert field in str(caught.value)


@pytest.mark.parametrize(
    ("augmentation", "label"),
    [
        (Augmentation(), "none"),
        (Augmentation(padding=4, flip=True), "crop4+flip"),
        (Augmentation(padding=8, crop=64), "crop64"),
        (Augmentation(flip=True), "flip"),
    ],
)
def test_augmentations_are_labelled_as_in_the_leaderboard(augmentation: Augmentation, label: str) -> None:
    assert augmentation.label == label


def recipe(**fields: Any) -> Recipe:
    return Recipe(**{"learning_rate": 0.2, "epochs": 15, **fields})


def rates(one: Recipe, steps: int) -> list[float]:
    return [one.learning_rate_at(epoch, step, steps) for epoch in range(one.epochs) for step in range(steps)]


def test_cyclic_schedule_is_that_of_fast_adversarial_training() -> None:
    # the authors interpolate at the end of each step between 0, the largest rate after two fifths, and 0
    ends = (np.arange(15 * 7) + 1) / 7
    expected = np.interp(ends, [0, 6, 15], [0, 0.2, 0])
    assert rates(recipe(schedule="cyclic", peak=0.4), 7) == pytest.approx(expected.tolist())


def test_cosine_schedule_falls_from_the_learning_rate_to_nearly_nothing() -> None:
    found = rates(recipe(schedule="cosine"), 4)
    assert found == pytest.approx([0.1 * (1 + math.cos(math.pi * step / 60)) for step in range(60)])
    assert found[0] == 0.2
    assert found[30] == pytest.approx(0.1)


@pytest.mark.parametrize("schedule", ["multi-step", "cosine", "cyclic"])
def test_warm_up_rises_in_equal_steps_before_the_schedule(schedule: str) -> None:
    found = rates(recipe(schedule=schedule, warm_up_epochs=3), 4)
    assert found[:12] == pytest.approx([0.2 * step / 12 for step in range(1, 13)])
    shorter = rates(recipe(schedule=schedule, epochs=12), 4)
    assert found[12:] == pytest.approx(shorter)


def test_constant_learning_rate_is_known_to_be_constant_within_epochs() -> None:
    assert not recipe(decay_epochs=(3,)).changes_each_step
    assert recipe(warm_up_epochs=1).changes_each_step
    assert recipe(schedule="cosine").changes_each_step


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({}, "none"),
        ({"weight_averaging": "ema"}, "ema-0.995"),
        ({"weight_averaging": "ema", "ema_decay": 0.9}, "ema-0.9"),
        ({"weight_averaging": "swa", "swa_start": 10}, "swa-10"),
    ],
)
def test_averages_are_labelled_as_in_the_leaderboard(fields: dict[str, Any], label: str) -> None:
    assert recipe(**fields).averaging_label == label


@pytest.mark.parametrize(("validation", "count"), [(0, 0), (0.0, 0), (1000, 1000), (0.1, 60), (1e-9, 1), (0.999, 599)])
def test_validation_split_is_a_number_or_a_share(validation: float, count: int) -> None:
    assert recipe(validation=validation).held_out(600) == count


@pytest.mark.parametrize(
    "wrong",
    [
        *({"validation": value} for value in (-1, 1.0, 1.5, -0.1, math.nan)),
        *({name: value} for name in ("peak", "ema_decay") for value in (0.0, 1.0)),
        *({name: -1} for name in ("warm_up_epochs", "swa_start", "label_smoothing")),
        *({name: "x"} for name in ("schedule", "weight_averaging", "checkpoint_selection")),
        {"label_smoothing": 1.0},
    ],
)
def test_value_out_of_range_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        recipe(**wrong)


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("checkpoint_selection", {"checkpoint_selection": "best-clean"}),
        ("warm_up_epochs", {"warm_up_epochs": 15}),
        ("decay_epochs", {"decay_epochs": (3,), "schedule": "cyclic"}),
        ("peak", {"peak": 0.4, "schedule": "cosine"}),
        ("ema_decay", {"ema_decay": 0.9, "weight_averaging": "swa"}),
        ("swa_start", {"swa_start": 3}),
        ("swa_start", {"swa_start": 15, "weight_averaging": "swa"}),
    ],
)
def test_fields_that_contradict_each_other_are_named(field: str, fields: dict[str, Any]) -> None:
    assert list(recipe(**fields).contradictions) == [field]
    assert recipe().contradictions == {}
    assert recipe(checkpoint_selection="best-robust", validation=0.1, weight_averaging="ema").contradictions == {}


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(OptionError, match="precision must be one of float32, bf16, tf32"):
        Recipe(learning_rate=0.1, epochs=1, precision="fp8")  # type: ignore[arg-type]
