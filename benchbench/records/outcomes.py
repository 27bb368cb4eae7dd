"""Check the form of per-example outcomes and adversarial images of a submission."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchbench.records.arrays import Array

WITNESSES = "image"  # the one column of a file of adversarial images
_CLASSES = ("label", "prediction", "adversarial_prediction")  # integers, except for regressions
_INTEGERS, _FLAGS, _NUMBERS = ("iu", "integers"), ("b", "true and false"), ("iuf", "numbers")
_KINDS = {  # column -> the kinds of NumPy types that it may have, in words; other columns belong to metrics, unchecked
    "index": _INTEGERS,
    **dict.fromkeys(_CLASSES, _NUMBERS),
    **dict.fromkeys(("correct", "robust"), _FLAGS),
    **dict.fromkeys(("lipschitz", "lipschitz_best", "lipschitz_released", "lipschitz_released_best"), _NUMBERS),
    **dict.fromkeys(("lipschitz_upper", "margin_bound"), _NUMBERS),
    "certified": _FLAGS,
    **dict.fromkeys(("squared_error", "adv_squared_error"), _NUMBERS),
}


def find_malformation(outcomes: Mapping[str, Array]) -> str:
    """What is wrong with the form of outcomes (``index`` increases from 0 on); empty if nothing."""
    index = outcomes.get("index")
    if index is None or index.ndim != 1:
        return "they have no column 'index' of one number per example"
    classified = "correct" in outcomes or "robust" in outcomes
    problems = (_problem(name, column, len(index), classified=classified) for name, column in outcomes.items())
    found = next((problem for problem in problems if problem), "")
    if not found and (np.any(index[1:] <= index[:-1]) or np.any(index < 0)):
        return "column 'index' does not increase from 0 on"
    return found


def find_malformed_witnesses(arrays: Mapping[str, Array]) -> str:
    """Say what is wrong with adversarial images, one column of floating-point numbers (N, ...)."""
    if arrays.keys() != {WITNESSES}:
        return f"expected the column {WITNESSES!r} alone, got {', '.join(map(repr, sorted(arrays))) or 'none'}"
    images = arrays[WITNESSES]
    if images.ndim < 2 or images.dtype.kind != "f":
        return f"column {WITNESSES!r} has shape {images.shape} and type {images.dtype}, expected images of numbers"
    return ""


def _problem(name: str, column: Array, length: int, *, classified: bool) -> str:
    if column.ndim < 1 or len(column) != length:
        return f"column {name!r} has shape {column.shape}, expected {length} examples"
    if name not in _KINDS:
        return ""
    kinds, words = _INTEGERS if name in _CLASSES and classified else _KINDS[name]
    if column.ndim != 1 or column.dtype.kind not in kinds:
        return f"column {name!r} has shape {column.shape} and type {column.dtype}, expected {words}, one per example"
    return "" if np.isfinite(column).all() else f"column {name!r} holds numbers that are not finite"


MALFORMATIONS = {"outcomes": find_malformation, "witnesses": find_malformed_witnesses}  # by kind of file
