"""Load a dataset, check it, digest its content, choose examples."""

from __future__ import annotations

from benchbench.data.availability import Availability, availability, fetch, verify
from benchbench.data.loading import LoadedDataset, Subset, crop_to, load_dataset, subset

__all__ = [
    "Availability",
    "LoadedDataset",
    "Subset",
    "availability",
    "crop_to",
    "fetch",
    "load_dataset",
    "subset",
    "verify",
]
