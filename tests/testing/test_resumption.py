"""The kit lets a defense carry state only if its checkpoint gets all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchbench.contract import BatchLoss
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
