"""Data of known content: what planning needs of them, without reading them."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from benchbench.cell.model import digest
from benchbench.contract import DatasetSplits, DataSource, Examples
from benchbench.data.availability import LocatableDataset
from benchbench.data.loading import LoadedDataset

if TYPE_CHECKING:
    from benchbench.cell.model import Component
    from benchbench.registry import Registry

DESCRIPTIONS = files("benchbench.data") / "descriptions.json"  # tests/data/test_describing.py says how it is written


def describe(loaded: LoadedDataset) -> dict[str, object]:
    """Digest, shapes, classes, task and box of a dataset, as JSON has them."""
    splits = loaded.splits
    shapes = [list(examples.inputs.shape) for examples in (splits.train, splits.test)]
    box = None if math.isinf(splits.lower) else [splits.lower, splits.upper]
    return {"digest": loaded.digest, "shapes": shapes, "classes": splits.classes, "task": splits.task, "box": box}


def described(registry: Registry, component: Component, source: DataSource) -> LoadedDataset | None:
    """A dataset of known content as arrays of its shapes, without values; None for others.

    Its files must be there, else it raises a MissingDataError; whether they are sound is left to the command that reads them.
    """
    known = json.loads(DESCRIPTIONS.read_text(encoding="utf-8")).get(digest(component))
    dataset = registry.make("dataset", component) if known else None
    if not isinstance(dataset, LocatableDataset):
        return None
    dataset.locate(source)
    train, test = (cast(Any, np.broadcast_to(np.uint8(), shape)) for shape in known["shapes"])
    lower, upper = known["box"] or (-math.inf, math.inf)
    splits = DatasetSplits(
        train=Examples(inputs=train, labels=train),
        test=Examples(inputs=test, labels=test),
        classes=tuple(known["classes"]),
        lower=lower,
        upper=upper,
        task=known["task"],
    )
    return LoadedDataset(splits=splits, digest=known["digest"])
