"""The training room: recipes, the loop, checkpoints, augmentation on the device.

Nothing is imported until it is asked for: recipes are needed where torch is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchbench.training.checkpoint import Checkpoint, EpochRecord
    from benchbench.training.job import TrainingJob
    from benchbench.training.loop import TrainedModel, train

_HOMES = {
    "Checkpoint": "checkpoint",
    "EpochRecord": "checkpoint",
    "TrainedModel": "loop",
    "TrainingJob": "job",
    "train": "loop",
}

__all__ = ["Checkpoint", "EpochRecord", "TrainedModel", "TrainingJob", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
