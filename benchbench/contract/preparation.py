"""What a defense does before training: phases with their own recipes, extra data, fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from benchbench.contract.data import Examples
from benchbench.contract.recipe import Recipe
from benchbench.contract.seeds import KeyedGenerator, derive_seed
from benchbench.contract.training import LoopDefense
from benchbench.kernels.inputs import as_model_input

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Augment = Callable[["Tensor", KeyedGenerator], "Tensor"]
_FIRST_ROW = 1 << 40  # rows of extra examples, above those of any dataset


@dataclass(frozen=True, kw_only=True)
class ExtraBatch:
    """Examples of another dataset for one step, on the device."""

    images: Tensor  # float32 (N, C, H, W), augmented
    labels: Tensor  # int64 (N,)
    rows: Tensor  # int64 (N,), for `KeyedGenerator.joined`: no example of the experiment has such a row


class ExtraExamples:
    """The training examples of a dataset that is a defense's option, as an endless stream.

    Each pass over the examples has its own order. Seed and position alone decide which example comes, so a defense that
    computes the position from its `Progress` goes on after an interruption as if there had been none. `augment` changes images
    by a generator of their rows.
    """

    def __init__(
        self, examples: Examples, *, seed: int, device: torch.device, augment: Augment = lambda images, _: images
    ) -> None:
        self._examples, self._seed, self._device, self._augment = examples, seed, device, augment
        self._order_of = lru_cache(2)(self._drawn_order)

    def __len__(self) -> int:
        return len(self._examples)

    def take(self, first: int, count: int) -> ExtraBatch:
        """The examples at positions ``first`` to ``first + count - 1`` of the stream, at least one."""
        import torch

        images, rows = [], []
        for number in range(first // len(self), (first + count - 1) // len(self) + 1):
            start = number * len(self)
            rows.append(self._order_of(number)[max(first - start, 0) : first + count - start])
            generator = KeyedGenerator(derive_seed(self._seed, "extra", number), rows[-1].to(self._device))
            images.append(self._augment(self._examples.inputs[rows[-1]].to(self._device), generator))
        chosen = torch.cat(rows)
        labels, everywhere = self._examples.labels[chosen].to(self._device), (chosen + _FIRST_ROW).to(self._device)
        return ExtraBatch(images=as_model_input(torch.cat(images)), labels=labels, rows=everywhere)

    def _drawn_order(self, number: int) -> Tensor:
        import torch

        generator = torch.Generator().manual_seed(derive_seed(self._seed, "extra order", number))
        return torch.randperm(len(self), generator=generator)


@dataclass(frozen=True, kw_only=True)
class TrainingHost:
    """The training of a model, as its defense sees it before the first batch, or before `fit`.

    Attributes:
        recipe: of the training that follows.
        model: the network that will be trained, freshly initialised: a warm start loads weights into it.
        extra_examples: the training examples of the option of this name, a dataset, augmented as the recipe says.
        train: trains another network of the same architecture, initialised anew, on the same examples, and returns it in
            evaluation mode. Its name, defense and recipe must follow from the options and the code of the prepared defense. It
            is checkpointed like any training; a finished one is loaded.
        save: keeps tensors of an unfinished `fit`, in place of those kept before.
        saved: the tensors that `save` kept, on the CPU; empty if there are none.
        check: ends the run, by an exception to let through, if it is time to stop; for a long `fit`.
        seconds_left: time left in the budget of the run; infinite without one.
    """

    recipe: Recipe
    model: nn.Module
    extra_examples: Callable[[str], ExtraExamples]
    train: Callable[[str, LoopDefense, Recipe], nn.Module]
    save: Callable[[Mapping[str, Tensor]], None] = lambda state: None
    saved: Callable[[], Mapping[str, Tensor]] = dict
    check: Callable[[], None] = lambda: None
    seconds_left: Callable[[], float] = lambda: math.inf


@runtime_checkable
class RecipeDefense(Protocol):
    """A defense that includes a way of training, such as averaged weights; rows then state it."""

    def adapt_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe of a suite with the fields that the defense decides; idempotent."""
        ...


@runtime_checkable
class PreparedDefense(Protocol):
    """A defense that prepares its training: by a helper network, a warm start, extra data."""

    def prepare(self, host: TrainingHost) -> None:
        """Called once before the first batch, or before `fit`, also if a checkpoint is resumed.

        What it keeps must be the same each time: nothing of it is in the checkpoint of the training.
        """
        ...
