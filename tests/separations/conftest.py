"""The definition of separation in plain NumPy, and the real digits, for the tests of this folder."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray


def nearest_by_definition(
    queries: NDArray, query_labels: NDArray, references: NDArray, reference_labels: NDArray
) -> tuple[NDArray, NDArray]:
    """One query at a time; argmin takes the first of several equally near."""
    wide = references.reshape(len(references), -1).astype(np.float64)
    distances, indices = [], []
    for query, label in zip(queries.reshape(len(queries), -1).astype(np.float64), query_labels):
        away = np.abs(wide - query).max(axis=1)
        away[reference_labels == label] = np.inf
        distances.append(away.min())
        indices.append(away.argmin())
    return np.array(distances), np.array(indices)


@pytest.fixture
def definition() -> Callable[..., tuple[NDArray, NDArray]]:
    return nearest_by_definition


@pytest.fixture
def mnist(real_data: Path) -> Callable[[str, int], tuple[NDArray, NDArray]]:
    """Reads the first examples of ``train`` or ``t10k``."""

    def read(split: str, count: int) -> tuple[NDArray, NDArray]:
        images = gzip.decompress((real_data / "MNIST/raw" / f"{split}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((real_data / "MNIST/raw" / f"{split}-labels-idx1-ubyte.gz").read_bytes())
        return (
            np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28)[:count].copy(),
            np.frombuffer(labels, np.uint8, offset=8)[:count].astype(np.int64),
        )

    return read
