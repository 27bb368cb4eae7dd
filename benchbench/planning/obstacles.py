"""Why a combination cannot run on its data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from benchbench.cell.model import Cell
from benchbench.contract import Capabilities, DatasetSplits, OptionError
from benchbench.contract.threat import check_radius
from benchbench.errors import BenchbenchError, DataError, Problem
from benchbench.planning.datasets import DatasetLoader
from benchbench.registry import Registry
from benchbench.registry.suitability import missing_modules, unsuited_task
from benchbench.suite import Experiment


def find_wrong_radii(experiments: Iterable[Experiment], datasets: DatasetLoader) -> tuple[Problem, ...]:
    """The radii that are too large for the box of their data, if that can be loaded."""
    problems = []
    for experiment in experiments:
        try:
            splits = datasets.splits(experiment.dataset)
        except BenchbenchError:  # the plan reports it for each cell
            continue
        try:
            threat = dataclasses.replace(experiment.threat, lower=splits.lower, upper=splits.upper)
            check_radius(threat, splits.input_shape)
        except OptionError as error:
            place = f"{experiment.name}.threat.epsilon"
            problems.append(Problem(location=place, message=error.message, hint=error.hint))
    return tuple(problems)


def require_alike(extra: DatasetSplits, splits: DatasetSplits, name: str) -> None:
    """Raise DataError unless a model of `splits` can learn from `extra` data, called `name`."""
    theirs, ours = ((one.task, one.input_shape, one.lower, one.upper, len(one.classes)) for one in (extra, splits))
    if ours[:-1] != theirs[:-1] or ours[-1] < theirs[-1]:
        described = ("{} of {} in [{:g}, {:g}], {} classes".format(*one) for one in (theirs, ours))
        raise DataError(f"{name} has other data than the experiment: {' against '.join(described)}")


def find_obstacle(cell: Cell, splits: DatasetSplits, registry: Registry) -> str:
    """Say why a cell cannot run on a dataset; empty if it can."""
    training, evaluation = cell.training, cell.evaluation
    named = (training.architecture, training.defense, evaluation.attack, *evaluation.metrics)
    for component in (one for outer in named for one in outer.with_nested):
        capabilities = registry.capabilities(component)
        unsuited = unsuited_task(capabilities, splits.task, len(splits.classes))
        reason = unsuited.reason if unsuited else _input_obstacle(capabilities, splits) or _missing(capabilities)
        reason = reason or _network_obstacle(capabilities, training.architecture.name)
        if reason:
            return f"{component.kind} {component.name!r} {reason}"
    return _augmentation_obstacle(cell, splits)


def _network_obstacle(capabilities: Capabilities, architecture: str) -> str:
    named = capabilities.architectures
    fits = not named or architecture in named or architecture.partition(":")[0] in named
    return "" if fits else f"works with {' or '.join(named)} only, not with {architecture!r}"


def _missing(capabilities: Capabilities) -> str:
    absent = missing_modules(capabilities)
    return f"needs {' and '.join(absent)}; {'; '.join(dict.fromkeys(absent.values()))}" if absent else ""


def _input_obstacle(capabilities: Capabilities, splits: DatasetSplits) -> str:
    shape = _model_shape(splits)
    if not capabilities.channels and capabilities.smallest_input is None:
        return ""
    if len(shape) != 3:
        return f"needs images, the data has inputs of shape {shape}"
    channels, height, width = shape
    if capabilities.channels and channels not in capabilities.channels:
        accepted = " or ".join(str(number) for number in capabilities.channels)
        return f"needs {accepted} channels, the data has {channels}"
    if capabilities.smallest_input is not None:
        least_height, least_width = capabilities.smallest_input
        if height < least_height or width < least_width:
            return f"needs images of at least {least_height}x{least_width}, the data has {height}x{width}"
    return ""


def _augmentation_obstacle(cell: Cell, splits: DatasetSplits) -> str:
    augmentation, shape = cell.training.recipe.augmentation, _model_shape(splits)
    if augmentation.label == "none":
        return ""
    if len(shape) != 3:
        return f"augmentation {augmentation.label} needs images, the data has inputs of shape {shape}"
    if augmentation.padding > min(shape[1:]):
        return f"augmentation pads {augmentation.padding} pixels, the test images have {shape[1]}x{shape[2]}"
    if augmentation.crop and shape[1:] != (augmentation.crop, augmentation.crop):
        return f"augmentation crops to {augmentation.crop} pixels, the test images have {shape[1]}x{shape[2]}"
    return ""


def _model_shape(splits: DatasetSplits) -> tuple[int, ...]:
    """The shape of the model's input; only training images may have a margin for random crops."""
    return tuple(int(size) for size in splits.test.inputs.shape[1:])
