"""Two interleaved spirals in the plane: the data of the paper's theory figure."""

from __future__ import annotations

import math

from benchbench.contract import DatasetSplits, DataSource, Examples, KeyedGenerator, OptionError, SplitName, derive_seed

END = 4.33 * math.pi  # 780 degrees
NOISE = 0.75
MOST = 10**7


class Spiral:
    """Points of two interleaved spirals, float32 (N, 2) without a box, half in each class.

    t ~ U[start, 4.33 pi] and n1, n2 ~ U[0, 0.75]; class 0 (negative) is (-t cos t + n1, t sin t + n2) and class 1
    (positive) is **(t cos t + n1, -t sin t + n2)**: its arm is the other one turned by half a turn about the origin, so the
    two interleave, pi apart along each ray. The paper prints (-t cos t + n1, -t sin t + n2) for it, the mirror image of the
    other arm in the first axis: the arms would cross where they meet that axis, and no distance would separate the
    classes. Turned, they overlap only near the origin, where both begin: from t = 1 on, the supports are 0.93 apart in
    L-inf, from t = 2 on 1.40.

    Args:
        n_train: training points, in [2, 10**7].
        n_test: test points, in [2, 10**7].
        start: smallest t, in [0, 4.33 pi); the paper's is 0, where the supports overlap; from 0.5 on they do not.
    """

    def __init__(self, *, n_train: int = 1000, n_test: int = 1000, start: float = 0.0) -> None:
        if not (2 <= n_train <= MOST and 2 <= n_test <= MOST):
            raise OptionError(f"spiral: n_train and n_test must be in [2, {MOST}], got {n_train} and {n_test}")
        if not 0.0 <= start < END:
            raise OptionError(f"spiral: start must be in [0, {END:.4f}), got {start}")
        self.n_train = n_train
        self.n_test = n_test
        self.start = start

    def locate(self, source: DataSource) -> None:
        """Do nothing: the points are drawn."""

    def load(self, source: DataSource) -> DatasetSplits:
        """Draw both splits; they depend neither on a seed nor on the data root."""
        return DatasetSplits(
            train=self._draw(self.n_train, "train"),
            test=self._draw(self.n_test, "test"),
            classes=("negative", "positive"),
            lower=-math.inf,
            upper=math.inf,
        )

    def _draw(self, count: int, split: SplitName) -> Examples:
        import torch

        rows = torch.arange(count)
        generator = KeyedGenerator(derive_seed("spiral", split), rows)
        # In float64, so that rounding to float32 hides how a machine computes sines.
        t = generator.uniform(low=self.start, high=END).double()
        noise = generator.uniform(2, high=NOISE)
        labels = rows.remainder(2)
        arm = torch.stack([-t * t.cos(), t * t.sin()], dim=1)
        half_turn = (1 - 2 * labels)[:, None]
        return Examples(inputs=(arm * half_turn + noise).float(), labels=labels)
