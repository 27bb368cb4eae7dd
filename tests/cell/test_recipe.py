from __future__ import annotations

import pytest

from benchbench.cell.recipe import Augmentation, Recipe
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
