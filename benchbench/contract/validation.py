"""The checks of a loaded dataset, for the host and for the conformance kit."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchbench.contract.data import DatasetSplits, Examples, row_blocks

_IMAGE_AXES = 4


def data_problems(splits: DatasetSplits) -> list[str]:
    """List what is wrong with shapes, dtypes, labels and values of both splits, one line each.

    Inputs are uint8 images (N, C, H, W) in the box [0, 1], or float32 features (N, ...), finite and inside their box.
    Labels are int64 (N,) in [0, classes), of two classes at least, or finite float32 (N,) for regression. Training
    images may be larger than test images, for random crops.
    """
    problems: list[str] = []
    for split, examples in (("train", splits.train), ("test", splits.test)):
        problems += [f"{split}: {problem}" for problem in _input_problems(examples, splits)]
        problems += [f"{split}: {problem}" for problem in _label_problems(examples, splits)]
    problems += _class_problems(splits) if splits.task == "classification" else []
    return problems + _shape_problems(splits)


def _input_problems(examples: Examples, splits: DatasetSplits) -> list[str]:
    inputs = examples.inputs
    if inputs.dtype not in (torch.uint8, torch.float32):
        return [f"inputs must be uint8 images or float32 features, got {inputs.dtype}"]
    if inputs.ndim < 2 or inputs.numel() == 0:
        return [f"inputs are empty or no batch: shape {tuple(inputs.shape)}"]
    if inputs.dtype == torch.float32:
        return _value_problems(inputs, splits)
    problems = []
    if inputs.ndim != _IMAGE_AXES:
        problems.append(f"uint8 images must have shape (N, C, H, W), got {tuple(inputs.shape)}")
    if (splits.lower, splits.upper) != (0.0, 1.0):
        problems.append(f"uint8 images must have the box [0, 1], got [{splits.lower}, {splits.upper}]")
    return problems


def _value_problems(inputs: Tensor, splits: DatasetSplits) -> list[str]:
    smallest, largest, finite = math.inf, -math.inf, True
    for block in row_blocks(inputs):
        finite = finite and bool(block.isfinite().all())
        smallest, largest = min(smallest, float(block.min())), max(largest, float(block.max()))
    if not finite:
        return ["inputs hold NaN or infinite values"]
    if smallest < splits.lower or largest > splits.upper:
        return [f"inputs in [{smallest:g}, {largest:g}] leave the box [{splits.lower:g}, {splits.upper:g}]"]
    return []


def _label_problems(examples: Examples, splits: DatasetSplits) -> list[str]:
    labels = examples.labels
    expected = torch.int64 if splits.task == "classification" else torch.float32
    if labels.dtype != expected:
        return [f"labels must be {expected} for {splits.task}, got {labels.dtype}"]
    if labels.shape != (len(examples),):
        return [f"labels must have shape ({len(examples)},), got {tuple(labels.shape)}"]
    if splits.task == "regression":
        return [] if bool(labels.isfinite().all()) else ["targets hold NaN or infinite values"]
    outside = labels[(labels < 0) | (labels >= len(splits.classes))]
    if len(outside):
        found = ", ".join(str(label) for label in sorted(set(outside.tolist()))[:5])
        return [f"{len(outside)} labels outside [0, {len(splits.classes)}): {found}"]
    return []


def _class_problems(splits: DatasetSplits) -> list[str]:
    if len(splits.classes) < 2:
        return [f"at least 2 classes are needed, got {len(splits.classes)}"]
    labels = splits.train.labels
    if len(labels) and bool((labels == labels[0]).all()):
        return ["train: all labels are of one class"]
    return []


def _shape_problems(splits: DatasetSplits) -> list[str]:
    train, test = splits.train.inputs, splits.test.inputs
    shapes = f"train inputs have shape {tuple(train.shape[1:])}, test inputs {tuple(test.shape[1:])}"
    if train.dtype != test.dtype:
        return [f"train inputs are {train.dtype}, test inputs {test.dtype}"]
    if train.shape[1:] == test.shape[1:]:
        return []
    images = train.dtype == torch.uint8 and train.ndim == test.ndim == _IMAGE_AXES
    has_margin = (
        images and train.shape[1] == test.shape[1] and all(a >= b for a, b in zip(train.shape[2:], test.shape[2:]))
    )
    return [] if has_margin else [shapes]
