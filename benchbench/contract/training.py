"""What a defense is to the host: a loss, a step or a fit, and the state that it may carry."""

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
        logits: (N, classes) on the clean images where the defense has them anyway, for the progress display.
    """

    loss: Tensor
    logits: Tensor | None = None


@runtime_checkable
class Defense(Protocol):
    """A training method that is defined by its loss. Options go to the constructor.

    One whose attribute ``recordable`` is True says that its loss maps tensors to tensors by kernels alone, draws aside, and
    draws alike for every batch: its steps may then be recorded and replayed without Python.
    """

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The loss of one batch.

        Args:
            model: maps float32 images to logits; in training mode, and to be left so.
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
        """Take one optimiser step on a batch (arguments as for `Defense.loss`); the returned loss may be detached."""
        ...


@runtime_checkable
class StatefulDefense(Protocol):
    """A `Defense` or `SteppingDefense` that carries state from batch to batch; checkpoints keep it."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """What is carried, as tensors by name; empty before the first batch."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state that `state_dict` gave, its tensors on the CPU; an empty one means from the beginning."""
        ...


@runtime_checkable
class ScheduledDefense(Protocol):
    """A `Defense` or `SteppingDefense` that depends on how far training has come, for instance for a warm-up."""

    def at_epoch(self, epoch: int) -> None:
        """Before every batch: the epoch that it belongs to, counted from 0.

        A state, not an event: told the same twice, nothing changes, and training may go on in the middle of an epoch.
        """
        ...


@runtime_checkable
class FittingDefense(Protocol):
    """A method that fits without the training loop, for instance a classifier made of the training data."""

    def fit(
        self, model: nn.Module, examples: Examples, *, classes: int, threat: Threat, generator: KeyedGenerator
    ) -> nn.Module:
        """Return the fitted model: an ``nn.Module`` from float32 inputs to logits, with all state in its state_dict."""
        ...


@runtime_checkable
class RegressionDefense(Protocol):
    """A training method that also knows how to fit a regression, without the training loop."""

    def fit_regression(self, model: nn.Module, examples: Examples, *, threat: Threat) -> nn.Module:
        """Return the fitted model, from float64 inputs (N, ...) to float64 predictions (N,); it may be `model` itself.

        Args:
            model: freshly made by the architecture.
            examples: float32 inputs and float32 targets.
            threat: the ball to be robust in, of radius above 0.
        """
        ...
