"""The conformance kit, the paper's formula, and the helper network's own training."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from benchbench_hat import benchbench_defenses
from benchbench_hat.hat import Hat, Standard

from benchbench.contract import KeyedGenerator, OptionError, PreparedDefense, Recipe, Threat, TrainingHost
from benchbench.testing import check_defense, smooth_toy, toy_training_host


def test_hat_keeps_the_contract_and_trains_robustly() -> None:
    check_defense(Hat(), accuracy=0.95, robust_accuracy=0.9)


def noting(model: torch.nn.Module, **given: Recipe) -> TrainingHost:
    """A host that notes the phases and returns the helper."""

    def train(phase: str, defense: object, recipe: Recipe) -> torch.nn.Module:
        phases.append((phase, defense, recipe))
        return helper

    return dataclasses.replace(toy_training_host(model, **given), train=train)


phases: list[tuple[str, object, Recipe]] = []
helper = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)).double()


def test_loss_is_the_papers_formula_in_float64() -> None:
    model, labels = smooth_toy((1, 8, 8), 3).double(), torch.tensor([0, 1, 2])
    images = KeyedGenerator(0, torch.arange(3)).uniform(1, 8, 8).double()
    seen: list[torch.Tensor] = []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    hat = Hat(beta=2.0, gamma=0.3, helper_scale=3.0, steps=2)
    hat.prepare(noting(model))
    generator = KeyedGenerator(1, torch.arange(3))
    loss = hat.loss(model, images, labels, threat=Threat(epsilon=0.1), generator=generator).loss
    adversarial = seen[-1]  # the last pass of the loss
    assert (adversarial - images).abs().max() <= 0.1 + 1e-12
    p, q = model(images).softmax(1), model(adversarial).softmax(1)
    beyond = model(images + 3.0 * (adversarial - images)).softmax(1)
    labelled = helper(adversarial).argmax(1)
    expected = (
        -p[range(3), labels].log().sum()
        + 2.0 * (p * (p / q).log()).sum()
        - 0.3 * beyond[range(3), labelled].log().sum()
    )
    torch.testing.assert_close(loss, expected)
    assert any(torch.equal(one, images + 3.0 * (adversarial - images)) for one in seen)  # not clipped


def test_helper_is_trained_on_clean_images_by_a_recipe_of_its_own() -> None:
    host = noting(smooth_toy((1, 8, 8), 3), recipe=Recipe(learning_rate=0.1, epochs=30, momentum=0.9))
    for epochs, expected in ((None, 30), (7, 7)):
        phases.clear()
        hat = Hat(helper_epochs=epochs)
        assert isinstance(hat, PreparedDefense)
        hat.prepare(host)
        ((_, defense, recipe),) = phases
        assert isinstance(defense, Standard)
        assert (recipe.epochs, recipe.momentum, recipe.learning_rate) == (expected, 0.9, 0.1)


@pytest.mark.parametrize("options", [{"beta": -1.0}, {"helper_scale": 0.5}, {"helper_epochs": 0}, {"steps": 0}])
def test_option_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="must be"):
        Hat(**options)  # type: ignore[arg-type]


def test_offer_names_hat() -> None:
    assert [(offer.name, offer.label) for offer in benchbench_defenses()] == [("hat", "HAT")]
