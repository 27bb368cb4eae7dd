"""Certified training: IBP and CROWN-IBP, with schedules over the steps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.contract import BatchLoss, KeyedGenerator, Progress, Threat, require
from benchbench_certified.steps import Interval, Step
from benchbench_certified.tracing import Tracer, least_margins


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """A linear schedule: 0 in the warm-up, then up to 1, as shares of all steps.

    Attributes:
        warm_up: share of the steps before the ramp, in [0, 1).
        length: share of the steps of the ramp, in [0, 1 - warm_up]; 0 for a jump.
    """

    warm_up: float
    length: float

    def __post_init__(self) -> None:
        checks = {f"warm_up must be in [0, 1), got {self.warm_up}": 0 <= self.warm_up < 1}
        require(checks | {f"ramp must be in [0, 1 - warm_up], got {self.length}": 0 <= self.length <= 1 - self.warm_up})

    def at(self, progress: Progress) -> float:
        """How far the ramp has come before a step, in [0, 1]."""
        done = progress.taken - self.warm_up * progress.total
        if done < 0:
            return 0.0
        return 1.0 if self.length == 0 else min(1.0, done / (self.length * progress.total))


@dataclass(kw_only=True)
class IntervalTraining:
    """IBP: minimise kappa * sum L(f(x), y) + (1 - kappa) * sum L(worst logits, y).

    Gowal et al., "Scalable Verified Training for Provably Robust Image Classification", 2019, equations 6, 10 and 11. The worst
    logits come from intervals, whose radius grows linearly from 0 to `epsilon_ratio` times epsilon; the last layer is elided.
    kappa goes from `kappa_start` to `kappa_end` at the same time.

    Attributes:
        kappa_start, kappa_end: weight of the clean loss, in [0, 1].
        epsilon_ratio: radius of training over epsilon, above 0; above 1 helps at small radii (Gowal et al., table 4).
        warm_up: share of the steps before the ramp, in [0, 1).
        ramp: share of the steps of the ramp, in [0, 1 - warm_up].

    Raises:
        OptionError: an option is out of range.
    """

    kappa_start: float = 1.0
    kappa_end: float = 0.5
    epsilon_ratio: float = 1.0
    warm_up: float = 2 / 60
    ramp: float = 10 / 60

    def __post_init__(self) -> None:
        self._ramp, self._tracer, self._done = Ramp(warm_up=self.warm_up, length=self.ramp), Tracer(), 1.0
        require(
            _are_shares(kappa_start=self.kappa_start, kappa_end=self.kappa_end)
            | {f"epsilon_ratio must be above 0, got {self.epsilon_ratio}": self.epsilon_ratio > 0}
        )

    def at_step(self, progress: Progress) -> None:
        """Where the schedules stand; see `benchbench.contract.PacedDefense`."""
        self._done = self._ramp.at(progress)

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The loss of one batch, summed; see `benchbench.contract.Defense`."""
        logits = model(images)
        clean = F.cross_entropy(logits, labels, reduction="sum")
        kappa = _between(self.kappa_start, self.kappa_end, self._done)
        if kappa == 1.0:
            return BatchLoss(loss=clean, logits=logits)
        reach = self._done * self.epsilon_ratio * threat.epsilon
        box = Interval(lower=(images - reach).clamp(min=threat.lower), upper=(images + reach).clamp(max=threat.upper))
        margins = self._margins(self._tracer.bound(model, box), labels)
        worst = F.cross_entropy(-margins, labels, reduction="sum")
        return BatchLoss(loss=kappa * clean + (1 - kappa) * worst, logits=logits)

    def _margins(self, steps: list[Step], labels: Tensor) -> Tensor:
        return least_margins(steps, labels, through_all=False)


@dataclass(kw_only=True)
class CrownIntervalTraining(IntervalTraining):
    """CROWN-IBP: as IBP, with margins (1 - beta) m_IBP + beta m_CROWN-IBP.

    Zhang et al., "Towards Stable and Efficient Training of Verifiably Robust Neural Networks", 2020, equation 13. m_CROWN-IBP
    is one linear bound that goes back to the image, on top of the intervals of IBP. beta goes from `beta_start` to `beta_end`
    while the radius grows.

    Attributes:
        beta_start, beta_end: weight of the linear bounds, in [0, 1].
        kappa_start, kappa_end, epsilon_ratio, warm_up, ramp: as in `IntervalTraining`.

    Raises:
        OptionError: an option is out of range.
    """

    beta_start: float = 1.0
    beta_end: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(_are_shares(beta_start=self.beta_start, beta_end=self.beta_end))

    def _margins(self, steps: list[Step], labels: Tensor) -> Tensor:
        beta = _between(self.beta_start, self.beta_end, self._done)
        by_intervals = least_margins(steps, labels, through_all=False)
        return by_intervals if beta == 0 else by_intervals.lerp(least_margins(steps, labels, through_all=True), beta)


def _are_shares(**values: float) -> dict[str, bool]:
    return {f"{name} must be in [0, 1], got {value}": 0 <= value <= 1 for name, value in values.items()}


def _between(start: float, end: float, done: float) -> float:
    return start + (end - start) * done
