"""Attacks and metrics, and what a metric may ask about the model under test."""

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
    """A search for adversarial examples. Options go to the constructor, data to the call.

    An attribute ``takes_starts = True`` states that `perturb` has a keyword ``starts``, by default None: for each image another
    one of the split, which the model assigns to another class than the label, as decision-based attacks need it. It may lie
    outside of the ball. Where there is none, it is the image itself.
    """

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """Propose one adversarial image per image.

        The harness, not the attack, re-checks box, norm and success. The model is in evaluation mode with frozen
        parameters. The result for an image must not depend on the rest of the batch. With ``--precision bf16`` or ``tf32``
        the model rounds; what must not round goes into a block of `full_precision`.

        Args:
            model: maps float32 images to logits (N, classes).
            images: float32 (N, C, H, W) in [threat.lower, threat.upper]; not to be changed.
            labels: int64 (N,), the true labels; float64 targets of a regression.
            threat: ball and box that candidates must lie in.
            generator: every random draw comes from here.

        Returns:
            float32 candidates in the shape of `images`.
        """
        ...


class ModelUnderTest(Protocol):
    """What a metric may ask about any model under test."""

    @property
    def model(self) -> nn.Module:
        """The model, in evaluation mode, with frozen parameters."""
        ...

    @property
    def threat(self) -> Threat:
        """Ball and box of the protocol."""
        ...

    def examples(self, split: SplitName) -> Examples:
        """The evaluated examples of a split; of a regression, inputs (N, ...) and targets (N,)."""
        ...


@runtime_checkable
class Evidence(ModelUnderTest, Protocol):
    """What a metric may ask about a classifier; each answer is computed once, for all metrics."""

    def correct(self, split: SplitName) -> Tensor:
        """bool (N,): predicted correctly without perturbation."""
        ...

    def robust(self, split: SplitName) -> Tensor:
        """bool (N,): correct without perturbation and under the protocol's attack."""
        ...

    def batches(self, split: SplitName, purpose: str) -> Iterable[tuple[Tensor, Tensor, KeyedGenerator]]:
        """Batches (images float32 on the device, labels int64, generator by seed, purpose, example)."""
        ...


@runtime_checkable
class RegressionEvidence(ModelUnderTest, Protocol):
    """What a metric may ask about a regression model under test. All tensors are float64."""

    def candidates(self, split: SplitName) -> Tensor:
        """The inputs after the protocol's attack, (N, ...), checked to lie in ball and box."""
        ...


AnyEvidence = Evidence | RegressionEvidence


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a metric returns.

    Attributes:
        values: column name to value; names say quantity, condition and unit (``test_lipschitz``). Accuracies are
            fractions in [0, 1].
        per_example: column name to one value per test example (N,), stored beside the leaderboard.
        note: what a reader of the values must know, or why there are none; the row's `notes` keep it.
    """

    values: Mapping[str, float]
    per_example: Mapping[str, Sequence[float] | Tensor] = field(default_factory=dict)
    note: str = ""


@runtime_checkable
class Metric(Protocol):
    """A quantity measured on a trained classifier; for regression, see `RegressionMetric`."""

    def measure(self, evidence: Evidence) -> Measurement:
        """Measure the quantity, and leave the model and the examples as they were.

        The model computes in float32. A metric that searches may search in a block of `searching`, in the precision of the
        run, and measures outside of it what it found. A value named like a column of the leaderboard (``test_lipschitz``)
        must be declared by the offer, see `Capabilities`; other values go to the row's ``extra`` map.
        """
        ...


class RegressionMetric(Protocol):
    """A quantity of a regression model; its offer has ``Capabilities(task="regression")``."""

    def measure(self, evidence: RegressionEvidence) -> Measurement:
        """See `Metric.measure`."""
        ...


@runtime_checkable
class ExamplewiseMetric(Metric, Protocol):
    """A `Metric` that measures each test example alone, so that processes share the test set.

    `measure` then receives some of the test examples at a time, and only its per-example columns count. The result for an
    example must not depend on the others.
    """

    def summarise(self, per_example: Mapping[str, Tensor]) -> Mapping[str, float]:
        """The values of `measure` from its columns over all test examples, (N,) each, on the CPU."""
        ...
