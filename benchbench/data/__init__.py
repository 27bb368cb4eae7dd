"""Load a dataset, check it, digest its content, choose examples."""

from __future__ import annotations

from benchbench.contract import data_digest
from benchbench.data.availability import Availability, availability, fetch, verify
from benchbench.data.loading import LoadedDataset, load_dataset
from benchbench.data.selection import Subset, crop_to, random_labels, subset
from benchbench.data.validation import validate

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
