"""Another dataset, its training examples pruned until its classes are separated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from benchbench.contract import DataError, Dataset, DatasetSplits, DataSource, Examples, Norm, OptionError
from benchbench_pruning.conflicts import conflicts, fewest_removals


class PrunedDataset:
    """The dataset `base`, without the fewest training examples such that classes are at least 2 * radius apart.

    Adversarial pruning (Yang et al., AISTATS 2020, section 4): training on what remains, a classifier can be right and
    constant within the radius of every training example. The test split is left as it is. For two classes the number of
    removed examples is the smallest possible; for more it is a greedy approximation, see `conflicts.fewest_removals`.

    Args:
        base: the dataset to prune; in a suite its name, or a table of its name and options.
        radius: r in the units of the model's inputs (pixels / 255), at least 0; 0 removes nothing.
        norm: in which distances are measured.

    Raises:
        OptionError: for an option out of range.
    """

    def __init__(self, *, base: Dataset, radius: float = 0.1, norm: Norm = "linf") -> None:
        if radius < 0:
            raise OptionError(f"radius must be at least 0, got {radius}")
        if norm not in ("linf", "l2", "l1"):
            raise OptionError(f"norm must be 'linf', 'l2' or 'l1', got {norm!r}")
        self._base = base
        self.radius = radius
        self.norm: Norm = norm

    def load(self, source: DataSource) -> DatasetSplits:
        """Load the base and prune it.

        Raises:
            DataError: the base is a regression, or a whole class would have to go.
        """
        splits = self._base.load(source)
        if splits.task != "classification":
            raise DataError("only classes can be pruned to separation, the base is a regression")
        features, threshold = _exact_features(splits.train.inputs, 2.0 * self.radius)
        labels = splits.train.labels
        pairs = conflicts(features, labels, distance=threshold, norm=self.norm)
        kept = torch.ones(len(labels), dtype=torch.bool)
        kept[torch.from_numpy(fewest_removals(pairs, labels.numpy().astype(np.int64)))] = False
        lost = sorted(set(labels.tolist()) - set(labels[kept].tolist()))
        if lost:
            raise DataError(
                f"radius {self.radius} leaves no training example of {lost}", hint="choose a smaller radius"
            )
        return replace(splits, train=Examples(inputs=splits.train.inputs[kept], labels=labels[kept]))


def _exact_features(inputs: Tensor, distance: float) -> tuple[Tensor, float]:
    """Features whose distances are compared without rounding where that matters, and the threshold in their units.

    Pixels are left as integers: in L-inf and L1 their distances are then exact.
    """
    scale = 255.0 if inputs.dtype == torch.uint8 else 1.0
    return inputs.flatten(1).float(), distance * scale
