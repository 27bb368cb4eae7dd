"""The kit lets a defense carry state only if its checkpoint gets all of it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchbench.contract import BatchLoss, Recipe
from benchbench.testing import ConformanceError, check_defense


class Carrying:
    """Adds a part of the last batch's mean image to the images."""

    def __init__(self) -> None:
        self.carried: Tensor | None = None

    def step(self, model: Any, images: Tensor, labels: Tensor, *, optimizer: Any, **_: Any) -> BatchLoss:
        shifted = images if self.carried is None else images + 0.1 * self.carried
        self.carried = images.mean(dim=0)
        loss = cross_entropy(model(shifted), labels, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return BatchLoss(loss=loss.detach())

    def state_dict(self) -> Mapping[str, Tensor]:
        return {} if self.carried is None else {"carried": self.carried}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.carried = state.get("carried")


class KeepsBack(Carrying):
    def state_dict(self) -> Mapping[str, Tensor]:
        return {}


class LoadsNothing(Carrying):
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.carried = None


class NumbersBatches(Carrying):
    """Carries a number beside its state, which a checkpoint would lose."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0

    def step(self, model: Any, images: Tensor, labels: Tensor, *, optimizer: Any, **more: Any) -> BatchLoss:
        self.batches += 1
        return super().step(model, images / self.batches, labels, optimizer=optimizer, **more)


class HandsOutNumbers(Carrying):
    def state_dict(self) -> Any:
        return {"count": 3}


def test_defense_that_carries_state_may_if_all_of_it_is_checkpointed() -> None:
    defense = Carrying()
    check_defense(defense)
    assert defense.carried is None  # left as it came


@pytest.mark.parametrize("defense", [KeepsBack, LoadsNothing, NumbersBatches])
def test_state_that_a_checkpoint_would_lose_is_caught(defense: type[Carrying]) -> None:
    with pytest.raises(
        ConformanceError, match=r"resumption[\s\S]*all that is carried between batches is in state_dict"
    ):
        check_defense(defense())


def test_state_that_is_no_tensor_is_caught() -> None:
    with pytest.raises(ConformanceError, match="tensors only"):
        check_defense(HandsOutNumbers())


def test_carrying_without_saying_so_is_caught() -> None:
    class Silent:
        def __init__(self) -> None:
            self._inner = Carrying()

        def step(self, *arguments: Any, **named: Any) -> BatchLoss:
            return self._inner.step(*arguments, **named)

    with pytest.raises(ConformanceError, match="repeatability"):
        check_defense(Silent())
    assert torch.is_grad_enabled()


class Prepared:
    """A fit by gradient descent that saves after each epoch, and needs an extra dataset and a helper network."""

    def __init__(self) -> None:
        self.host: Any = None

    def prepare(self, host: Any) -> None:
        self.host = host
        self.batch = host.extra_examples("extra").take(0, 5)
        self.helper = host.train("helper", Plain(), host.recipe)

    def fit(self, model: Any, examples: Any, **_: Any) -> torch.nn.Module:
        fitted = copy.deepcopy(model)
        state = dict(self.host.saved())
        if state:
            fitted.load_state_dict({name: state[name] for name in fitted.state_dict()})
        optimizer = torch.optim.SGD(fitted.parameters(), lr=0.01)
        for epoch in range(int(state.get("epoch", torch.tensor(0))), 5):
            self.host.check()
            optimizer.zero_grad()
            cross_entropy(fitted(examples.inputs), examples.labels, reduction="sum").backward()
            optimizer.step()
            self.host.save({**fitted.state_dict(), "epoch": torch.tensor(epoch + 1)})
        return fitted


class Plain:
    def loss(self, model: Any, images: Tensor, labels: Tensor, **_: Any) -> BatchLoss:
        return BatchLoss(loss=cross_entropy(model(images), labels, reduction="sum"))


class StartsAgain(Prepared):
    """Counts its epochs from the saved one, but loses the weights."""

    def fit(self, model: Any, examples: Any, **named: Any) -> torch.nn.Module:
        if state := self.host.saved():
            self.host.save({**model.state_dict(), "epoch": state["epoch"]})
        return super().fit(model, examples, **named)


def test_fit_that_saves_goes_on_where_it_was_interrupted() -> None:
    defense = Prepared()
    check_defense(defense)
    assert defense.batch.images.shape == (5, 1, 8, 8)
    assert not defense.helper.training
    assert defense.host.seconds_left() > 0
    with pytest.raises(ConformanceError, match="the same model twice"):
        check_defense(StartsAgain())


class Adapting(Plain):
    """Brings averaged weights along."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def adapt_recipe(self, recipe: Recipe) -> Recipe:
        return dataclasses.replace(recipe, **self.fields)


def test_recipe_that_a_defense_brings_along_has_no_contradictions_and_settles() -> None:
    check_defense(Adapting(weight_averaging="ema"))
    with pytest.raises(ConformanceError, match="fields that fit each other"):
        check_defense(Adapting(checkpoint_selection="best-clean"))

    class Growing(Adapting):
        def adapt_recipe(self, recipe: Recipe) -> Recipe:
            return dataclasses.replace(recipe, epochs=recipe.epochs + 1)

    with pytest.raises(ConformanceError, match="adapted again"):
        check_defense(Growing())


def test_defense_that_ignores_label_smoothing_is_caught() -> None:
    class Deaf(Plain):
        smooths_labels = True

        def loss(self, model: Any, images: Tensor, labels: Tensor, **_: Any) -> BatchLoss:
            hard = labels.argmax(dim=1) if labels.is_floating_point() else labels
            return super().loss(model, images, hard)

    with pytest.raises(ConformanceError, match="smooths_labels"):
        check_defense(Deaf())
