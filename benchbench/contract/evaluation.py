"""What attacks and metrics are to the host, and what a metric may ask about the model under test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from benchbench.contract.data import Examples, SplitName
from benchbench.contract.seeds import KeyedGenerator
from benchbench.contract.threat import Threat

if TYPE_CHECKING:
    from torch import Tensor, nn


@runtime_checkable
class Attack(Protocol):
    """A search for adversarial examples. Options go to the constructor, data to the call."""

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """Propose one adversarial image per image.

        The harness, not the attack, re-checks box, norm and success. The model comes in evaluation mode with frozen
        parameters. What an attack returns for an image must not depend on the rest of the batch. Where the run asked for a
        rounded search (``--precision``), the model rounds; what must not, goes into a block of `full_precision`.

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

    def examples(self, split: SplitName) -> Examples:
        """The examples of a split that are evaluated."""
        ...

    def correct(self, split: SplitName) -> Tensor:
        """bool (N,): predicted correctly without perturbation."""
        ...

    def robust(self, split: SplitName) -> Tensor:
        """bool (N,): correct without perturbation and under the protocol's attack."""
        ...

    def batches(self, split: SplitName, purpose: str) -> Iterable[tuple[Tensor, Tensor, KeyedGenerator]]:
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

    def examples(self, split: SplitName) -> Examples:
        """The inputs (N, ...) of a split that are evaluated, and their targets (N,)."""
        ...

    def candidates(self, split: SplitName) -> Tensor:
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

        The model is float32's. A metric that searches may do so in a block of `searching`, in the arithmetic that the run asked
        for, and measures what it has found outside of it.

        What it is lent (the model, the examples) it leaves as it was. A value under the name of a column of the leaderboard
        (``test_lipschitz``) has to be declared by the offer, see `Capabilities`; others land in the row's ``extra`` map.
        """
        ...


@runtime_checkable
class ExamplewiseMetric(Metric, Protocol):
    """A `Metric` that looks at each test example by itself, so that processes can share the test set.

    `measure` is asked about some of the test examples at a time, and only its per-example columns count; what it says about
    an example must not depend on the others.
    """

    def summarise(self, per_example: Mapping[str, Tensor]) -> Mapping[str, float]:
        """The values that `measure` would give with these columns, (N,) on the CPU each, of all test examples."""
        ...
