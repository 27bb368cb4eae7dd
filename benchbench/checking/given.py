"""The model of a row that was trained elsewhere: its weights in their architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from benchbench.cell.model import Cell, Component
from benchbench.checking.evidence import Finding, UnavailableError
from benchbench.contract import DatasetSplits
from benchbench.data import subset
from benchbench.errors import DataError, UnknownNameError
from benchbench.kernels.inputs import as_model_input
from benchbench.kernels.sketches import sketch
from benchbench.own_model.architectures import Architecture, OwnCallable, fits, is_registered
from benchbench.own_model.guests import adapt, default_float32
from benchbench.registry import Registry
from benchbench.training.checkpoint import StoredModel, read_checkpoint, weights_digest


@default_float32()
def load_given(
    cell: Cell,
    path: Path | None,
    splits: DatasetSplits,
    *,
    registry: Registry,
    own: OwnCallable | None,
    device: torch.device,
) -> tuple[nn.Module, list[Finding]]:
    """Load the model of a cell as `evaluate` prepared it, and say what contradicts its row.

    An architecture that is not registered is `own`, the judge's, if its source has the digest of the row: no file names code
    to import. Otherwise, and without weights, this is an `UnavailableError`.
    """
    spec = cell.training
    if missing := _missing(spec.architecture, registry, own):
        raise UnavailableError(f"not checked: {missing}")
    stored, findings = read_weights(path, spec.model_id)
    if weights_digest(stored.state) != spec.weights:
        findings.append(Finding(what="the weights are not those of the row's digest"))
    network = Architecture(component=spec.architecture, own=None if is_registered(spec.architecture) else own)
    shape, classes = splits.input_shape, len(splits.classes)
    model = fill(lambda: network.make(registry, input_shape=shape, classes=classes), stored.state)
    images = subset(splits.test, cell.evaluation.n_test, "test").examples.inputs[:2]
    return adapt(model.to(device), as_model_input(images.to(device)), classes=classes), findings


def _missing(component: Component, registry: Registry, own: OwnCallable | None) -> str:
    """Why an architecture cannot be made here; empty if it can."""
    if is_registered(component):
        with suppress(UnknownNameError):
            registry.get("architecture", component.name)
            return ""
        return f"no architecture {component.name!r} is registered here"
    if not component.sources:
        return "the row has no digest of the source of its architecture"
    if own is None:
        return "its architecture is not registered; --architecture FILE.py:callable names it"
    same = own.sources == component.sources
    return "" if same else f"the source of {own.name} is {own.sources}, the row's {component.sources}"


def read_weights(path: Path | None, model_id: str) -> tuple[StoredModel, list[Finding]]:
    """Read a checkpoint that is of a model; `UnavailableError` if there is none."""
    stored = None if path is None else read_checkpoint(path)
    if stored is None:
        raise UnavailableError("no checkpoint on this machine")
    findings = [] if stored.intact else [Finding(what="the checkpoint does not match its own digest")]
    if stored.model_id != model_id:
        findings.append(Finding(what=f"the checkpoint is of model {stored.model_id}"))
    return stored, findings


def fill(make: Callable[[], nn.Module], state: Mapping[str, Tensor]) -> nn.Module:
    """A new network with a state; DataError if it is of another architecture."""
    outline = sketch(make)
    if outline is not None and not fits(outline, state):
        raise DataError("the checkpoint is of another architecture: its tensors have other names or shapes")
    model = make()
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(f"the checkpoint is of another architecture: {str(error)[:200]}") from error
    return model
