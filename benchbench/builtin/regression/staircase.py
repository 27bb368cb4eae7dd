"""The staircase (Raghunathan et al., 2020): adversarial training overfits few samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchbench.builtin.deferred import Tensor, nn, torch
from benchbench.contract import DatasetSplits, DataSource, Examples, KeyedGenerator, OptionError, Threat

if TYPE_CHECKING:
    from benchbench.builtin.regression.spline import CubicSpline

STAIRS = 10
FREQUENT_STAIRS = 5
FREQUENT_WEIGHT = 0.2
RARE_WEIGHT = 0.01
LABEL_NOISE = 0.1
MOVED_PROBABILITY = 0.005
RADIUS = 1 / 3
MOST = 10**7


class Staircase:
    """Stairs k = 0..9: y = k + 0.1 N(0, 1) at k, with probability 0.005 at k - 1/3 or k + 1/3.

    The first five stairs weigh 0.2 each and the others 0.01 (normalised). Both splits come from one stream of NumPy's
    legacy generator, as published. Seed 1 with 40 / 10,000 examples gives Table 1 of the paper's arXiv version, with
    30,000 / 15,000 examples Table 8.

    Args:
        n_train: training examples, in [1, 10**7].
        n_test: test examples, in [1, 10**7].
        seed: of the legacy generator, in [0, 2**32).
    """

    def __init__(self, *, n_train: int = 40, n_test: int = 10_000, seed: int = 1) -> None:
        if not (1 <= n_train <= MOST and 1 <= n_test <= MOST):
            raise OptionError(f"n_train and n_test must be in [1, {MOST}], got {n_train} and {n_test}")
        if not 0 <= seed < 2**32:
            raise OptionError(f"seed must be in [0, 2**32), got {seed}")
        self.n_train = n_train
        self.n_test = n_test
        self.seed = seed

    def locate(self, source: DataSource) -> None:
        """Do nothing: the examples are drawn."""

    def load(self, source: DataSource) -> DatasetSplits:
        """Draw both splits: float32 inputs (N, 1) without a box, and float32 targets (N,)."""
        draws = np.random.RandomState(self.seed)
        return DatasetSplits(
            train=_draw(draws, self.n_train),
            test=_draw(draws, self.n_test),
            classes=(),
            lower=-np.inf,
            upper=np.inf,
            task="regression",
        )


def make_cubic_spline(
    *, input_shape: tuple[int, ...], classes: int, stairs: int = 10, ridge: float = 0.01
) -> CubicSpline:
    """The spline for a regression on single numbers; it refuses other inputs, and classes."""
    if tuple(input_shape) != (1,) or classes:
        raise OptionError(
            f"cubic-spline predicts a number from a number, got inputs of shape {tuple(input_shape)}, {classes} classes"
        )
    from benchbench.builtin.regression.spline import CubicSpline

    return CubicSpline(stairs=stairs, ridge=ridge)


def _draw(draws: np.random.RandomState, n: int) -> Examples:
    """Draw one split; the protocol fixes the order: stair, label noise, side, whether moved."""
    rare_stairs = STAIRS - FREQUENT_STAIRS
    weights = np.array([FREQUENT_WEIGHT] * FREQUENT_STAIRS + [RARE_WEIGHT] * rare_stairs)
    stairs = draws.choice(STAIRS, size=n, p=weights / weights.sum()).astype(np.float64)
    targets = stairs + LABEL_NOISE * draws.randn(n)
    side = np.where(draws.rand(n) < 0.5, 1.0, -1.0)
    moved = draws.rand(n) < MOVED_PROBABILITY
    positions = np.where(moved, stairs + side * RADIUS, stairs)
    return Examples(
        inputs=torch.from_numpy(positions.astype(np.float32)[:, None]),
        labels=torch.from_numpy(targets.astype(np.float32)),
    )


SHIFTS = (0.0, -1.0, 1.0)  # the input itself first: the first of equal errors counts


class Exact:
    """Move every input by -epsilon, 0 or +epsilon in all coordinates, to the largest error.

    The paper's regression considers these three points only ("only the point-wise perturbation").
    """

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """The worst of the three points for inputs (N, ...), float targets (N,); uses epsilon only."""
        candidates = torch.stack([images + shift * threat.epsilon for shift in SHIFTS])
        with torch.no_grad():
            errors = torch.stack([(model(moved) - labels).abs() for moved in candidates])
        worst = errors.argmax(dim=0)
        return candidates[worst, torch.arange(len(images), device=images.device)]
