"""Functions that round to robust classifiers, on points of few dimensions (paper, section 4.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchbench.errors import DataError, OptionError
from benchbench.separations import nearest_other_class

Numbers = NDArray[np.floating | np.integer]


def class_functions(
    points: Numbers, supports: Numbers, labels: Numbers, *, classes: int, r: float
) -> NDArray[np.float64]:
    """Equation (1): f(x) = (dist(x, X_1), ..., dist(x, X_C)) / r, in L-inf. Its argmin is equation (2), the classifier.

    Args:
        points: float (N, D), where to evaluate.
        supports: float (M, D), points of all classes.
        labels: integers (M,) in [0, classes); every class occurs.
        classes: number of classes C.
        r: above 0; the classes are r-separated when at least 2r apart.

    Returns:
        float64 (N, C), at least 0.

    Raises:
        OptionError: for an r that is not above 0.
        DataError: for a class without points.
    """
    _check_radius(r)
    return np.stack([_distance(points, supports[labels == label]) for label in range(classes)], axis=1) / r


def binary_function(points: Numbers, negatives: Numbers, positives: Numbers, *, r: float) -> NDArray[np.float64]:
    """Theorem 4.4: f(x) = (dist(x, X-) - dist(x, X+)) / 2r, in L-inf. Its sign is the classifier.

    Args:
        points: float (N, D), where to evaluate.
        negatives: float (M, D), the support of the negative class.
        positives: float (K, D), the support of the positive class.
        r: above 0.

    Returns:
        float64 (N,); on r-separated supports at least 1 on the positives, at most -1 on the negatives.

    Raises:
        OptionError: for an r that is not above 0.
        DataError: for a class without points.
    """
    _check_radius(r)
    return (_distance(points, negatives) - _distance(points, positives)) / (2.0 * r)


def separation_radius(supports: Numbers, labels: Numbers) -> float:
    """The largest r for which points are r-separated (Definition 2): half the least distance between two classes.

    Raises:
        DataError: for fewer than two classes.
    """
    return float(nearest_other_class(supports, labels, supports, labels).scaled.min()) / 2.0


def _distance(points: Numbers, support: Numbers) -> NDArray[np.float64]:
    if len(support) == 0:
        raise DataError("the distance to a class without points is not defined")
    return np.asarray(cKDTree(support).query(points, p=np.inf)[0], dtype=np.float64)


def _check_radius(r: float) -> None:
    if not (np.isfinite(r) and r > 0):
        raise OptionError(f"r must be a finite number above 0, got {r!r}")
