"""Exact nearest neighbour of another class in L-inf, for uint8 images or float features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchbench.errors import DataError, UsageError
from benchbench.version import install_command

Numbers = NDArray[np.generic]  # pixels, features or labels


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The nearest reference of another class, for each query."""

    distance: NDArray[np.uint8] | NDArray[np.float64]  # L-inf (N,): pixel levels, or of features
    index: NDArray[np.int64]  # (N,), among the references; the first of equally near images, any of such features

    @property
    def scaled(self) -> NDArray[np.float64]:
        """The distance in the units of the model's inputs, float64 (N,): pixel / 255 for images."""
        return self.distance.astype(np.float64) / (255.0 if self.distance.dtype == np.uint8 else 1.0)


def nearest_other_class(
    queries: Numbers, query_labels: Numbers, references: Numbers, reference_labels: Numbers
) -> Neighbours:
    """Find each query's nearest reference with another label (integers), exactly.

    Pixels, uint8 (N, ...), are searched with bit tables and compiled loops on all cores (`benchbench.separations.search`),
    features, float (N, ...), with one k-d tree per class, which is exact, and fast in few dimensions. The references are (M,
    ...) of the same dtype and shape per example, or `queries` itself. Examples or labels that do not match or fit, features
    that are not finite, and a query without a reference of another class are a DataError; images without numba a UsageError.
    """
    _check_examples("queries", queries, query_labels)
    _check_examples("references", references, reference_labels)
    _check_pair(queries, query_labels, references, reference_labels)
    flat_references = np.ascontiguousarray(references.reshape(len(references), -1))
    flat_queries = flat_references if queries is references else np.ascontiguousarray(queries.reshape(len(queries), -1))
    known, codes = np.unique(np.concatenate([query_labels, reference_labels]), return_inverse=True)
    query_codes, reference_codes = np.split(codes.astype(np.int64), [len(queries)])
    if queries.dtype != np.uint8:
        return _search_features(
            np.asarray(flat_queries, np.float64), query_codes, np.asarray(flat_references, np.float64), reference_codes
        )
    try:
        from benchbench.separations.search import search  # numba takes a while to import
    except ModuleNotFoundError as error:
        hint = install_command("separation")
        raise UsageError(f"the exact separation of images needs {error.name}", hint=hint) from error
    distance, index = search(
        np.asarray(flat_queries, np.uint8),
        query_codes,
        np.asarray(flat_references, np.uint8),
        reference_codes,
        len(known),
    )
    return Neighbours(distance=distance, index=index)


def _search_features(
    queries: NDArray[np.float64],
    query_codes: NDArray[np.int64],
    references: NDArray[np.float64],
    reference_codes: NDArray[np.int64],
) -> Neighbours:
    distance = np.empty(len(queries), dtype=np.float64)
    index = np.empty(len(queries), dtype=np.int64)
    for code in np.unique(query_codes):
        members = np.flatnonzero(query_codes == code)
        others = np.flatnonzero(reference_codes != code)
        found, place = cKDTree(references[others]).query(queries[members], p=np.inf, workers=-1)
        distance[members], index[members] = found, others[place]
    return Neighbours(distance=distance, index=index)


def _check_pair(queries: Numbers, query_labels: Numbers, references: Numbers, reference_labels: Numbers) -> None:
    if queries.dtype != references.dtype or queries.shape[1:] != references.shape[1:]:
        raise DataError(
            f"queries are {queries.dtype} {queries.shape[1:]}, references {references.dtype} {references.shape[1:]}",
            hint="both must have one dtype and one shape per example",
        )
    classes = np.unique(reference_labels)
    if len(classes) == 1 and bool(np.any(query_labels == classes[0])):
        raise DataError(
            f"no reference has another class than {classes[0]}",
            hint="separation needs examples of at least two classes",
        )


def _check_examples(name: str, inputs: Numbers, labels: Numbers) -> None:
    if len(inputs) == 0 or inputs[0].size == 0:
        raise DataError(f"the {name} are empty", hint="separation needs at least one example with one value")
    if labels.shape != (len(inputs),) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"labels of the {name} are {labels.dtype} {labels.shape}",
            hint=f"expected integers of shape ({len(inputs)},)",
        )
    if inputs.dtype != np.uint8 and not (np.issubdtype(inputs.dtype, np.floating) and bool(np.isfinite(inputs).all())):
        raise DataError(f"the {name} ({inputs.dtype}) are neither uint8 images nor finite floats")
