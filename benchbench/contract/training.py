"""Defenses: a loss, a step or a fit, and the state that one may carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from benchbench.contract.data import Examples
from benchbench.contract.seeds import KeyedGenerator
from benchbench.contract.threat import Threat

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class BatchLoss:
    """What a defense returns for a batch.

    Attributes:
        loss: scalar with a gradient, the SUM over the batch (the protocol's reduction), not the mean.
        logits: (N, classes) on the clean images if the defense has computed them, for the progress display.
    """

    loss: Tensor
    logits: Tensor | None = None


@runtime_checkable
class Defense(Protocol):
    """A training method that is defined by its loss. Options go to the constructor.

    An attribute ``recordable = True`` states that the loss is pure tensor code, apart from random draws, and makes the same
    draws for every batch. Its steps may then be recorded and replayed without Python.

    An attribute ``smooths_labels = True`` states that labels may also be probabilities, float32 (N, classes), as torch's
    cross-entropy takes them. A recipe can smooth labels for such defenses only (Szegedy et al., 2016).
    """

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The loss of one batch.

        Args:
            model: maps float32 images to logits; in training mode, which must be restored.
            images: float32 (N, C, H, W) in [threat.lower, threat.upper], already augmented.
            labels: int64 (N,).
            threat: the ball to be robust in.
            generator: every random draw comes from here.
        """
        ...


@runtime_checkable
class SteppingDefense(Protocol):
    """A training method that needs its own update, for instance one that perturbs the weights."""

    def step(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        threat: Threat,
        generator: KeyedGenerator,
        optimizer: torch.optim.Optimizer,
    ) -> BatchLoss:
        """Take an optimiser step (arguments as for `Defense.loss`); return its loss, maybe detached."""
        ...


@runtime_checkable
class StatefulDefense(Protocol):
    """A `Defense` or `SteppingDefense` with state from batch to batch; checkpoints keep it."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """The carried state as tensors by name; empty before the first batch."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a `state_dict` (tensors on the CPU); start anew if it is empty."""
        ...


@runtime_checkable
class ScheduledDefense(Protocol):
    """A `Defense` or `SteppingDefense` that depends on the epoch, for instance for a warm-up."""

    def at_epoch(self, epoch: int) -> None:
        """Called before every batch with its epoch, counted from 0.

        Must be idempotent: it may be called twice with the same epoch, and training may resume in the middle of one.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far training has come before a step; epochs and steps are counted from 0."""

    epoch: int
    step: int  # within the epoch
    epochs: int  # of the whole training
    steps: int  # of each epoch

    @property
    def taken(self) -> int:
        """Steps taken before this one."""
        return self.epoch * self.steps + self.step

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.steps


@runtime_checkable
class PacedDefense(Protocol):
    """A `Defense` or `SteppingDefense` that depends on the step, for instance for a ramp."""

    def at_step(self, progress: Progress) -> None:
        """Called before every batch with its progress; idempotent, like `ScheduledDefense.at_epoch`."""
        ...


def announce(defense: object, progress: Progress) -> None:
    """Tell a `ScheduledDefense` or `PacedDefense` the progress; do nothing to any other."""
    if isinstance(defense, ScheduledDefense):
        defense.at_epoch(progress.epoch)
    if isinstance(defense, PacedDefense):
        defense.at_step(progress)


@runtime_checkable
class FittingDefense(Protocol):
    """A method that fits without the training loop, such as a classifier of training data."""

    def fit(
        self, model: nn.Module, examples: Examples, *, classes: int, threat: Threat, generator: KeyedGenerator
    ) -> nn.Module:
        """Return the fitted model (float32 inputs to logits), all state in its ``state_dict``."""
        ...


@runtime_checkable
class RegressionDefense(Protocol):
    """A training method that can also fit a regression, without the training loop."""

    def fit_regression(self, model: nn.Module, examples: Examples, *, threat: Threat) -> nn.Module:
        """Return the fitted model, maybe `model`: float64 inputs (N, ...), float64 predictions (N,).

        Args:
            model: freshly made by the architecture.
            examples: float32 inputs and float32 targets.
            threat: the ball to be robust in, of radius above 0.
        """
        ...


LoopDefense = Defense | SteppingDefense
"""What the training loop trains with."""
AnyDefense = LoopDefense | FittingDefense
"""What a factory of a defense makes."""
