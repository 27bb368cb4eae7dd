"""Everything that a plugin author imports.

A plugin is a module that implements one or more of the hooks below and is named in the entry-point group ``benchbench``.
Each hook returns offers; an offer names a factory, and the factory's typed keyword parameters are the options that a suite
may set. The module that implements the hooks should import quickly: give factories as ``"module:attribute"`` and they are
imported when a suite first uses them. What a factory must return, per kind:

- dataset: a `Dataset`;
- architecture: an ``nn.Module``; the factory also takes ``input_shape`` and ``classes``;
- defense: a `Defense`, `SteppingDefense` or `FittingDefense`, where it applies also a `StatefulDefense`, `RegressionDefense`;
- attack: an `Attack`;
- metric: a `Metric`;
- suite: the path of a TOML file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import pluggy

from benchbench.errors import (
    CorruptDataError,
    DataError,
    MissingDataError,
    OptionError,
    StorageError,
    TrainingError,
    UsageError,
)
from benchbench.modes import frozen, in_mode
from benchbench.seeds import KeyedGenerator, derive_seed
from benchbench.threat import NORMS, Norm, Threat

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = [
    "API_VERSION",
    "ENTRY_POINT_GROUP",
    "KINDS",
    "NORMS",
    "Attack",
    "BatchLoss",
    "Capabilities",
    "CorruptDataError",
    "DataError",
    "DataSource",
    "Dataset",
    "DatasetSplits",
    "Defense",
    "Evidence",
    "Examples",
    "FittingDefense",
    "KeyedGenerator",
    "Kind",
    "Measurement",
    "Metric",
    "MissingDataError",
    "Norm",
    "Offer",
    "OptionError",
    "RegressionDefense",
    "RegressionEvidence",
    "StatefulDefense",
    "SteppingDefense",
    "StorageError",
    "Threat",
    "TrainingError",
    "UsageError",
    "derive_seed",
    "frozen",
    "hookimpl",
    "hookspec",
    "in_mode",
]

API_VERSION = 1
ENTRY_POINT_GROUP = "benchbench"

hookspec = pluggy.HookspecMarker("benchbench")
hookimpl = pluggy.HookimplMarker("benchbench")

Kind = Literal["dataset", "architecture", "defense", "attack", "metric", "suite"]
KINDS: tuple[Kind, ...] = ("dataset", "architecture", "defense", "attack", "metric", "suite")


# What a plugin offers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a component can do; the plan skips impossible combinations with a reason instead of failing late.

    Attributes:
        norms: threat norms that an attack or defense works for.
        minimum_classes: least number of classes.
        needs_gradients: whether it needs input gradients of the model.
        deterministic: whether equal generators give equal results on one machine.
        smallest_input: smallest (height, width) that an architecture accepts; None for any.
        channels: numbers of channels that an architecture accepts; empty for any.
        task: the data that it works for: ``"classification"``, ``"regression"``, or ``"any"`` for both.
        requires: optional module that it cannot do without, to the command that installs it; without the module its cells
            are skipped.
    """

    norms: tuple[Norm, ...] = NORMS
    minimum_classes: int = 2
    needs_gradients: bool = False
    deterministic: bool = True
    smallest_input: tuple[int, int] | None = None
    channels: tuple[int, ...] = ()
    task: Literal["classification", "regression", "any"] = "classification"
    requires: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One component that a plugin adds.

    Attributes:
        name: unique within its kind, in kebab-case. A family's name is a prefix: ``timm`` answers for ``timm:resnet50``.
        summary: one line for listings.
        factory: what makes the component, or ``"module:attribute"``, imported on first use. Its keyword parameters, typed
            with bool, int, float, str, tuples of them, Literal or optional ones, are the options of the component. A
            family's factory takes the part after the colon as ``member``.
        preset: options fixed by this name, for instance ``{"steps": 10}`` for ``pgd-10``; a suite cannot change them.
        capabilities: what it can do.
        citation: where it comes from: authors, title, year, and equation where that helps.
        members: for a family, what lists its members (or ``"module:attribute"``); None for a single component.
    """

    name: str
    summary: str
    factory: Callable[..., Any] | str
    preset: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Capabilities = field(default_factory=Capabilities)
    citation: str = ""
    members: Callable[[], Iterable[str]] | str | None = None


class Hooks:
    """The hooks, one per kind. Each returns the offers of one plugin."""

    @hookspec
    def benchbench_datasets(self) -> Iterable[Offer]:
        """Offer datasets."""
        return ()

    @hookspec
    def benchbench_architectures(self) -> Iterable[Offer]:
        """Offer architectures."""
        return ()

    @hookspec
    def benchbench_defenses(self) -> Iterable[Offer]:
        """Offer defenses: training methods."""
        return ()

    @hookspec
    def benchbench_attacks(self) -> Iterable[Offer]:
        """Offer attacks."""
        return ()

    @hookspec
    def benchbench_metrics(self) -> Iterable[Offer]:
        """Offer metrics."""
        return ()

    @hookspec
    def benchbench_suites(self) -> Iterable[Offer]:
        """Offer suites: the factory returns the path of a TOML file."""
        return ()


# Data -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Examples:
    """One split of a dataset.

    Attributes:
        inputs: uint8 images (N, C, H, W), where pixel / 255 is what the model sees, or float32 features (N, ...).
        labels: int64 (N,) in [0, classes); float32 (N,) targets for regression.
    """

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return int(self.inputs.shape[0])


@dataclass(frozen=True, kw_only=True)
class DatasetSplits:
    """A loaded dataset.

    Attributes:
        train: training examples, on the CPU.
        test: test examples, on the CPU.
        classes: name of each class; empty for regression.
        lower: smallest valid value of a model input (0 for images).
        upper: largest valid value of a model input (1 for images).
        task: ``"classification"`` or ``"regression"``.
    """

    train: Examples
    test: Examples
    classes: tuple[str, ...]
    lower: float = 0.0
    upper: float = 1.0
    task: Literal["classification", "regression"] = "classification"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one model input, for instance (1, 28, 28): that of the test examples; training ones may have a margin."""
        return tuple(int(size) for size in self.test.inputs.shape[1:])


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Where datasets may read.

    Attributes:
        root: the data root (``BENCHBENCH_DATA`` or ``--data``), in torchvision's layout.
        cache: a folder for derived files, created on demand.
        download: whether fetching from the network is allowed.
    """

    root: Path
    cache: Path
    download: bool = False


@runtime_checkable
class Dataset(Protocol):
    """A source of labelled data."""

    def load(self, source: DataSource) -> DatasetSplits:
        """Read both splits.

        Raises:
            MissingDataError: the files are not there; its `fetch` says how to get them.
            CorruptDataError: a file is truncated or fails its checksum.
        """
        ...


# Training ---------------------------------------------------------------------------------------------------------


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
    """A training method that is defined by its loss. Options go to the constructor."""

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


# Evaluation -------------------------------------------------------------------------------------------------------


@runtime_checkable
class Attack(Protocol):
    """A search for adversarial examples. Options go to the constructor, data to the call."""

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """Propose one adversarial image per image.

        The harness, not the attack, re-checks box, norm and success. The model comes in evaluation mode with frozen
        parameters. What an attack returns for an image must not depend on the rest of the batch.

        Args:
            model: maps float32 images to logits (N, classes).
            images: float32 (N, C, H, W) in [threat.lower, threat.upper]; not to be changed.
            labels: int64 (N,), the true labels.
            threat: ball and box that candidates must lie in.
            generator: every random draw comes from here.

        Returns:
            float32 candidates in the shape of `images`.
        """
        ...


class Evidence(Protocol):
    """What a metric may ask about the model under test; each answer is computed once and shared between metrics."""

    @property
    def model(self) -> nn.Module:
        """The model, in evaluation mode, with frozen parameters."""
        ...

    @property
    def threat(self) -> Threat:
        """Ball and box of the protocol."""
        ...

    def examples(self, split: Literal["train", "test"]) -> Examples:
        """The examples of a split that are evaluated."""
        ...

    def correct(self, split: Literal["train", "test"]) -> Tensor:
        """bool (N,): predicted correctly without perturbation."""
        ...

    def robust(self, split: Literal["train", "test"]) -> Tensor:
        """bool (N,): correct without perturbation and under the protocol's attack."""
        ...

    def batches(self, split: Literal["train", "test"], purpose: str) -> Iterable[tuple[Tensor, Tensor, KeyedGenerator]]:
        """Batches of (float32 images on the device, int64 labels, generator keyed by seed, purpose and example)."""
        ...


class RegressionEvidence(Protocol):
    """What a metric may ask about a regression model under test, in place of `Evidence`. All tensors are float64."""

    @property
    def model(self) -> nn.Module:
        """The model, in evaluation mode, with frozen parameters."""
        ...

    @property
    def threat(self) -> Threat:
        """Ball and box of the protocol."""
        ...

    def examples(self, split: Literal["train", "test"]) -> Examples:
        """The inputs (N, ...) of a split that are evaluated, and their targets (N,)."""
        ...

    def candidates(self, split: Literal["train", "test"]) -> Tensor:
        """What the protocol's attack made of the inputs (N, ...), checked to lie in ball and box."""
        ...


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a metric returns.

    Attributes:
        values: column name to value; names say quantity, condition and unit (``test_lipschitz``). Accuracies are
            fractions in [0, 1].
        per_example: column name to one value per test example (N,), stored beside the leaderboard.
    """

    values: Mapping[str, float]
    per_example: Mapping[str, Sequence[float] | Tensor] = field(default_factory=dict)


@runtime_checkable
class Metric(Protocol):
    """A quantity measured on a trained model."""

    def measure(self, evidence: Evidence) -> Measurement:
        """Measure it; metrics for regression get a `RegressionEvidence` instead.

        Values that a plugin adds beyond the known columns land in the row's ``extra`` map.
        """
        ...
