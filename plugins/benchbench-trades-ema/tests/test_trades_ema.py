"""The conformance kit, the formula, and the recipe that the method brings along."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from benchbench_trades_ema import benchbench_defenses
from benchbench_trades_ema.trades import TradesEma

from benchbench.contract import Augmentation, KeyedGenerator, OptionError, Recipe, RecipeDefense, Threat
from benchbench.testing import check_defense, smooth_toy


def test_trades_keeps_the_contract_and_trains_robustly() -> None:
    check_defense(TradesEma(), accuracy=0.95, robust_accuracy=0.9)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_is_the_formula_in_float64(smoothing: float) -> None:
    model, labels = smooth_toy((1, 8, 8), 3).double(), torch.tensor([0, 1, 2])
    images = KeyedGenerator(0, torch.arange(3)).uniform(1, 8, 8).double()
    seen: list[torch.Tensor] = []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    generator = KeyedGenerator(1, torch.arange(3))
    targets = (1 - smoothing) * torch.eye(3, dtype=torch.float64) + smoothing / 3 if smoothing else labels
    loss = TradesEma(beta=2.5).loss(model, images, targets, threat=Threat(epsilon=0.1), generator=generator).loss
    q, p = model(seen[-1]).softmax(1), model(images).softmax(1)
    clean = (1 - smoothing) * p[range(3), labels].log() + smoothing * p.log().mean(1)
    torch.testing.assert_close(loss, -clean.sum() + 2.5 * (p * (p / q).log()).sum())


def test_recipe_gets_averaging_and_selection_and_keeps_the_rest() -> None:
    given = Recipe(learning_rate=0.1, epochs=30, momentum=0.9, augmentation=Augmentation(flip=True))
    adapted = TradesEma(decay=0.99, validation=0.1).adapt_recipe(given)
    assert isinstance(TradesEma(), RecipeDefense)
    assert (adapted.averaging_label, adapted.checkpoint_selection, adapted.validation) == (
        "ema-0.99",
        "best-robust",
        0.1,
    )
    changed = {"weight_averaging", "ema_decay", "checkpoint_selection", "validation"}
    same = [field.name for field in dataclasses.fields(Recipe) if field.name not in changed]
    assert all(getattr(adapted, name) == getattr(given, name) for name in same)


@pytest.mark.parametrize(
    "options", [{"beta": -1.0}, {"decay": 1.0}, {"validation": 0.0}, {"steps": 0}, {"step_ratio": 0.0}]
)
def test_option_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="must be"):
        TradesEma(**options)  # type: ignore[arg-type]


def test_offer_names_trades_ema() -> None:
    assert [(offer.name, offer.label) for offer in benchbench_defenses()] == [("trades-ema", "TRADES-EMA")]
