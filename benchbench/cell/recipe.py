"""The training schedule: optimiser, learning rates, batch size, augmentation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from benchbench.errors import OptionError
from benchbench.kernels.arithmetic import PRECISIONS, Precision

Optimizer = Literal["sgd", "adam", "none"]
OMITTED = {"omitted": True}  # a field added later: digests omit it while it has its default, so that old ids last


_PLAIN: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


def require_plain(value: Any) -> None:
    """Raise ValueError if a field is of another type; integers are in [0, 2**63)."""
    for entry in dataclasses.fields(value):
        kinds, stated = _PLAIN.get(str(entry.type).removesuffix(" | None")), getattr(value, entry.name)
        if kinds is None or (stated is None and str(entry.type).endswith(" | None")):
            continue
        least = 0 if kinds == (int,) else -(2**63)
        if type(stated) not in kinds or (type(stated) is int and not least <= stated < 2**63):
            raise ValueError(f"{entry.name}: expected a {entry.type} in its range, got {stated!r:.40}")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of training images on the device, drawn anew for each example and epoch."""

    padding: int = 0  # zero pixels added on each side before the random crop; 0 for none
    crop: int = 0  # side of the random crop in pixels; 0 keeps the size of the input
    flip: bool = False  # whether each image is mirrored left to right with probability one half

    def __post_init__(self) -> None:
        broken = [f"{name} must be at least 0" for name in ("padding", "crop") if getattr(self, name) < 0]
        if broken:
            raise OptionError("; ".join(broken))

    @property
    def label(self) -> str:
        """The value of the leaderboard's ``augmentation`` column: ``none``, ``crop4+flip``, ..."""
        parts = []
        if self.padding or self.crop:
            parts.append(f"crop{self.crop or self.padding}")
        if self.flip:
            parts.append("flip")
        return "+".join(parts) or "none"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The training schedule; the batch loss is a sum, so learning rates are per summed loss."""

    optimizer: Optimizer = "sgd"  # ``"none"`` for methods without the training loop; see `NO_TRAINING`
    learning_rate: float  # initial step size, above 0
    momentum: float = 0.0  # of SGD, in [0, 1)
    weight_decay: float = 0.0  # L2 penalty, at least 0
    batch_size: int = 64  # examples per step, at least 1
    epochs: int  # passes over the training set, at least 1
    decay_epochs: tuple[int, ...] = ()  # counted from 1; after them `decay_factor` multiplies the learning rate
    decay_factor: float = 0.1  # in (0, 1]
    augmentation: Augmentation = Augmentation()  # of the training images
    precision: Precision = field(default="float32", metadata=OMITTED)  # of convolutions and products; sums are float32

    def __post_init__(self) -> None:
        checks = {
            "optimizer must be 'sgd', 'adam' or 'none'": self.optimizer in ("sgd", "adam", "none"),
            "learning_rate must be above 0": self.learning_rate > 0 or self.optimizer == "none",
            "momentum must be in [0, 1)": 0 <= self.momentum < 1,
            "weight_decay must be at least 0": self.weight_decay >= 0,
            "batch_size must be at least 1": self.batch_size >= 1,
            "epochs must be at least 1": self.epochs >= 1 or self.optimizer == "none",
            "decay_epochs must increase": all(a < b for a, b in zip(self.decay_epochs, self.decay_epochs[1:])),
            "decay_factor must be in (0, 1]": 0 < self.decay_factor <= 1,
            f"precision must be one of {', '.join(PRECISIONS)}": self.precision in PRECISIONS,
        }
        broken = [message for message, holds in checks.items() if not holds]
        if broken:
            raise OptionError("; ".join(broken))

    def learning_rate_at(self, epoch: int) -> float:
        """The learning rate during an epoch, counted from 0 (multi-step decay)."""
        return self.learning_rate * self.decay_factor ** sum(epoch >= after for after in self.decay_epochs)


NO_TRAINING = Recipe(optimizer="none", learning_rate=0.0, epochs=0)
"""The recipe of methods without the training loop: the distance classifier, regressions."""
