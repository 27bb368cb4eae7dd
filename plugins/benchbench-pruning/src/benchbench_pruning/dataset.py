"""Another dataset, its training examples pruned until its classes are separated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from benchbench.contract import (
    NORMS,
    DataError,
    Dataset,
    DatasetSplits,
    DataSource,
    Examples,
    Norm,
    Threat,
    require,
)
from benchbench_pruning.conflicts import conflicts, fewest_removals


class PrunedDataset:
    """`base` without the fewest examples such that training classes are >= 2 * radius apart.

    Adversarial pruning (Yang et al., AISTATS 2020, section 4): training on what remains, a classifier can be right and
    constant within the radius of every training example. The test split stays as it is. For two classes the number of
    removed examples is the smallest possible; for more it is a greedy approximation, see `conflicts.fewest_removals`.

    Args:
        base: the dataset to prune; in a suite its name, or a table of its name and options.
        radius: r in the units of the model's inputs (pixels / 255), at least 0; 0 removes nothing.
        norm: of the distances.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(self, *, base: Dataset, radius: float = 0.1, norm: Norm = "linf") -> None:
        require(
            {
                f"radius must be at least 0, got {radius}": radius >= 0,
                f"norm must be one of {', '.join(NORMS)}, got {norm!r}": norm in NORMS,
            }
        )
        self._base = base
        self._ball = Threat(norm=norm, epsilon=radius)

    def load(self, source: DataSource) -> DatasetSplits:
        """Load the base and prune it.

        Raises:
            DataError: the base is a regression, or a whole class would have to go.
        """
        splits = self._base.load(source)
        if splits.task != "classification":
            raise DataError("only classes can be pruned to separation, the base is a regression")
        features, threshold = _exact_features(splits.train.inputs, 2.0 * self._ball.epsilon)
        labels = splits.train.labels
        pairs = conflicts(features, labels, distance=threshold, order=self._ball.order)
        kept = torch.ones(len(labels), dtype=torch.bool)
        kept[torch.from_numpy(fewest_removals(pairs, labels.numpy().astype(np.int64)))] = False
        lost = sorted(set(labels.tolist()) - set(labels[kept].tolist()))
        if lost:
            raise DataError(
                f"radius {self._ball.epsilon} leaves no training example of {lost}", hint="choose a smaller radius"
            )
        return replace(splits, train=Examples(inputs=splits.train.inputs[kept], labels=labels[kept]))


def _exact_features(inputs: Tensor, distance: float) -> tuple[Tensor, float]:
    """Features (N, d) and the threshold in their units; integer pixels make L-inf and L1 exact."""
    scale = 255.0 if inputs.dtype == torch.uint8 else 1.0
    return inputs.flatten(1).float(), distance * scale
