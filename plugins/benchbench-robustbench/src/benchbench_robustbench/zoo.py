"""Models of RobustBench's package, with weights from its cache; nothing is downloaded."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from benchbench.contract import DataError, OptionError, UsageError

CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}
# Statistics that a model's definition holds and, for some of the models, the file of weights does not.
STATISTICS = ("mu", "sigma", "mean", "std", "normalize.mean", "normalize.std")


def list_models() -> Iterable[str]:
    """Names of all models, as ``dataset/threat/name``."""
    return sorted(_entries())


def make_model(
    *, member: str, input_shape: tuple[int, ...], classes: int, pretrained: bool = False, folder: str = "models"
) -> nn.Module:
    """Make a model, with new weights or with those in RobustBench's cache.

    Args:
        member: its place, for instance ``cifar10/Linf/Rice2020Overfitting``.
        input_shape: of colour images.
        classes: those of the model's dataset.
        pretrained: whether to load the published weights from the cache.
        folder: the cache, RobustBench's ``model_dir``.

    Raises:
        OptionError: there is no such model, or it has another number of classes or channels.
        DataError: the weights are not there, or are not the model's.
    """
    dataset = member.partition("/")[0]
    entry = _entry(member)
    if classes != CLASSES.get(dataset, classes) or input_shape[0] != 3:
        raise OptionError(
            f"robustbench:{member} classifies colour images of {dataset} into {CLASSES.get(dataset)} classes, "
            f"not inputs of shape {input_shape} into {classes}"
        )
    model: nn.Module = entry["model"]()
    if pretrained:
        _load(model, entry, member, Path(folder))
    return model


def load_model(
    name: str, *, dataset: str = "cifar10", threat_model: str = "Linf", model_dir: Path | str = "models"
) -> nn.Module:
    """A model with the weights in RobustBench's cache, to be passed to `benchbench.evaluate`.

    The arguments are those of ``robustbench.utils.load_model``, which would download what is missing.

    Raises:
        OptionError: there is no such model.
        DataError: the weights are not there, or are not the model's.
    """
    member = f"{dataset}/{threat_model}/{name}"
    model: nn.Module = _entry(member)["model"]()
    _load(model, _entry(member), member, Path(model_dir))
    return model.eval()


def _entry(member: str) -> Mapping[str, Any]:
    entries = _entries()
    if member not in entries:
        near = difflib.get_close_matches(member, entries, n=3)
        raise OptionError(f"RobustBench has no model {member!r}", hint=f"nearest: {', '.join(near)}" if near else "")
    return entries[member]


def _entries() -> dict[str, Mapping[str, Any]]:
    """RobustBench's registry: ``model`` makes the network, ``gdrive_id`` names its files."""
    try:
        from robustbench.model_zoo import model_dicts
    except ImportError as error:
        raise UsageError(
            f"RobustBench's package cannot be imported: {error}", hint="pip install 'benchbench-robustbench[models]'"
        ) from error
    return {
        f"{dataset.value}/{threat.value}/{name}": entry
        for dataset, threats in model_dicts.items()
        for threat, entries in threats.items()
        for name, entry in entries.items()
    }


def _load(model: nn.Module, entry: Mapping[str, Any], member: str, folder: Path) -> None:
    """Load one file, or one for each part of an ensemble."""
    file = folder / f"{member}.pt"
    if not isinstance(entry.get("gdrive_id"), list):
        _load_part(model, file)
        return
    parts = getattr(model, "models", None)
    if not isinstance(parts, nn.ModuleList) or len(parts) != len(entry["gdrive_id"]):
        raise DataError(f"robustbench:{member} is composed in its own way", hint="load it with RobustBench's package")
    for number, part in enumerate(parts):
        _load_part(part, file.with_name(f"{file.name}_m{number}.pt"))


def _load_part(model: nn.Module, file: Path) -> None:
    import benchbench

    if not file.is_file():
        raise DataError(
            f"there is no file {file}",
            hint="let RobustBench fetch it once: robustbench.utils.load_model, on a machine online",
        )
    inner = getattr(model, "model", None)  # behind a normalisation, whose file may hold the network alone
    try:
        benchbench.load_weights(model, file, optional=STATISTICS)
    except DataError:
        if not isinstance(inner, nn.Module):
            raise
        benchbench.load_weights(inner, file, optional=STATISTICS)
