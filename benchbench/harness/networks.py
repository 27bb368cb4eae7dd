"""Freshly initialised networks, whose weights depend on the seed only."""

from __future__ import annotations

from weakref import WeakValueDictionary

import torch
from torch import nn

from benchbench.cell.model import Cell, TrainingSpec
from benchbench.contract import DatasetSplits, derive_seed
from benchbench.errors import ContractError
from benchbench.registry import Registry

_HANDED_OUT: WeakValueDictionary[int, nn.Parameter] = WeakValueDictionary()  # parameters of live networks, by id


def build_model(cell: Cell, splits: DatasetSplits, registry: Registry) -> nn.Module:
    """A freshly initialised network, whose weights depend only on the seed."""
    return initialise(cell.training, splits.input_shape, len(splits.classes), registry)


def initialise(spec: TrainingSpec, input_shape: tuple[int, ...], classes: int, registry: Registry) -> nn.Module:
    """Like `build_model`, for inputs of a shape and a number of classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(spec.seed, "initialisation"))
        model = registry.make("architecture", spec.architecture, input_shape=input_shape, classes=classes)
    if not isinstance(model, nn.Module):
        raise ContractError(
            f"architecture {spec.architecture.name!r} made a {type(model).__name__}, expected: nn.Module"
        )
    parameters = {id(parameter): parameter for parameter in model.parameters()}
    if any(_HANDED_OUT.get(key) is parameter for key, parameter in parameters.items()):
        raise ContractError(
            f"architecture {spec.architecture.name!r} made a network of parameters that another one has"
        )
    _HANDED_OUT.update(parameters)
    return model
