"""What a defense does before training: phases with their own recipes, extra data, fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from benchbench.contract.data import Examples
from benchbench.contract.recipe import Recipe
from benchbench.contract.seeds import KeyedGenerator, derive_seed
from benchbench.contract.training import LoopDefense
from benchbench.kernels.inputs import as_model_input

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_FIRST_ROW = 1 << 40  # rows of extra examples, above those of any dataset


@dataclass(frozen=True, kw_only=True)
class ExtraBatch:
    """Examples of another dataset for one step.

    Attributes:
        images: float32 (N, C, H, W) on the device, augmented.
        labels: int64 (N,).
        rows: int64 (N,), for `KeyedGenerator.joined`; no example of the experiment has such a row.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor


class ExtraExamples:
    """The training examples of a dataset that is a defense's option, as an endless stream.

    Each pass over the examples has its own order. Seed and position alone decide which example comes, so a defense that
    computes the position from its `Progress` goes on after an interruption as if there had been none.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        seed: int,
        device: torch.device,
        augment: Callable[[Tensor, KeyedGenerator], Tensor] = lambda images, _: images,
    ) -> None:
        self._examples, self._seed, self._device, self._augment = examples, seed, device, augment
        self._order: tuple[int, Tensor] | None = None  # of the last pass that was used

    def __len__(self) -> int:
        return len(self._examples)

    def take(self, first: int, count: int) -> ExtraBatch:
        """The examples at positions ``first`` to ``first + count - 1`` of the stream, at least one."""
        import torch

        taken, position = [], first
        while position < first + count:
            number, start = divmod(position, len(self))
            end = min(start + first + count - position, len(self))
            taken.append((number, self._order_of(number)[start:end]))
            position += end - start
        images = torch.cat([self._images(number, chosen) for number, chosen in taken])
        everything = torch.cat([chosen for _, chosen in taken])
        labels = self._examples.labels[everything].to(self._device)
        return ExtraBatch(images=images, labels=labels, rows=(everything + _FIRST_ROW).to(self._device))

    def _order_of(self, number: int) -> Tensor:
        import torch

        if self._order is None or self._order[0] != number:
            generator = torch.Generator().manual_seed(derive_seed(self._seed, "extra order", number))
            self._order = number, torch.randperm(len(self), generator=generator)
        return self._order[1]

    def _images(self, number: int, chosen: Tensor) -> Tensor:
        generator = KeyedGenerator(derive_seed(self._seed, "extra", number), chosen.to(self._device))
        return as_model_input(self._augment(self._examples.inputs[chosen].to(self._device), generator))


class TrainingHost(Protocol):
    """The training of a model, as its defense sees it before the first batch, or before `fit`."""

    @property
    def recipe(self) -> Recipe:
        """The recipe of the training that follows."""
        ...

    @property
    def model(self) -> nn.Module:
        """The network that will be trained, freshly initialised: a warm start loads weights into it."""
        ...

    @property
    def seconds_left(self) -> float:
        """Time left in the budget of the run; infinite without one."""
        ...

    def check(self) -> None:
        """End the run, by an exception to let through, if it is time to stop; for a long `fit`."""
        ...

    def extra_examples(self, option: str) -> ExtraExamples:
        """The training examples of the defense's option, a dataset, augmented as the recipe says."""
        ...

    def train(self, phase: str, defense: LoopDefense, recipe: Recipe) -> nn.Module:
        """Train another network of the same architecture, initialised anew, on the same examples.

        It is checkpointed like any training, and a finished phase is loaded. Recipe and defense must follow from the options of
        the prepared defense and from its code, which identify the phase. The network is returned in evaluation mode.
        """
        ...

    def save(self, state: Mapping[str, Tensor]) -> None:
        """Keep tensors of an unfinished `fit`, in place of those kept before."""
        ...

    def saved(self) -> Mapping[str, Tensor]:
        """The tensors that `save` kept, on the CPU; empty if there are none."""
        ...


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
