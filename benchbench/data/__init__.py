"""Load a dataset, check it, digest its content, choose examples."""

from __future__ import annotations

from benchbench.contract import data_digest
from benchbench.data.availability import Availability, availability, fetch, verify
from benchbench.data.loading import LoadedDataset, Subset, crop_to, load_dataset, random_labels, subset, validate

__all__ = [
    "Availability",
    "LoadedDataset",
    "Subset",
    "availability",
    "crop_to",
    "data_digest",
    "fetch",
    "load_dataset",
    "random_labels",
    "subset",
    "validate",
    "verify",
]
