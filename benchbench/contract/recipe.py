"""The training schedule: optimiser, learning rates, batch size, augmentation."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from benchbench.errors import OptionError
from benchbench.kernels.arithmetic import PRECISIONS, Precision

Optimizer = Literal["sgd", "adam", "none"]
Schedule = Literal["multi-step", "cosine", "cyclic"]
Averaging = Literal["none", "ema", "swa"]
Selection = Literal["last", "best-clean", "best-robust"]
OMITTED = {"omitted": True}  # a field added later: digests omit it while it has its default, so that old ids last


_PLAIN: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
_PLAIN["int | float"] = _PLAIN["float"]


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
    schedule: Schedule = field(default="multi-step", metadata=OMITTED)  # of the learning rate; see `learning_rate_at`
    warm_up_epochs: int = field(default=0, metadata=OMITTED)  # in which the learning rate rises in equal steps
    peak: float = field(default=0.5, metadata=OMITTED)  # share of a cyclic schedule after which it falls, in (0, 1)
    label_smoothing: float = field(default=0.0, metadata=OMITTED)  # share of a label that all classes divide, in [0, 1)
    # validation: training examples held out, as a number or as a share in (0, 1): a fixed draw, the same for all seeds
    validation: int | float = field(default=0, metadata=OMITTED)
    # checkpoint_selection: the weights after the last epoch, or after the one with the best accuracy on the validation
    # split, without perturbation (``"best-clean"``) or under PGD with the training's threat (``"best-robust"``)
    checkpoint_selection: Selection = field(default="last", metadata=OMITTED)
    weight_averaging: Averaging = field(default="none", metadata=OMITTED)  # the averaged weights are the model
    ema_decay: float = field(default=0.995, metadata=OMITTED)  # weight of the older average in a step of EMA, in (0, 1)
    swa_start: int = field(default=0, metadata=OMITTED)  # epochs before those whose last weights SWA averages

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
            f"schedule must be one of {', '.join(get_args(Schedule))}": self.schedule in get_args(Schedule),
            "warm_up_epochs must be at least 0": self.warm_up_epochs >= 0,
            "peak must be in (0, 1)": 0 < self.peak < 1,
            "label_smoothing must be in [0, 1)": 0 <= self.label_smoothing < 1,
            "validation must be a number of examples or a share in (0, 1)": self.validation == 0
            or (self.validation >= 1 if isinstance(self.validation, int) else 0 < self.validation < 1),
            f"checkpoint_selection must be one of {', '.join(get_args(Selection))}": self.checkpoint_selection
            in get_args(Selection),
            f"weight_averaging must be one of {', '.join(get_args(Averaging))}": self.weight_averaging
            in get_args(Averaging),
            "ema_decay must be in (0, 1)": 0 < self.ema_decay < 1,
            "swa_start must be at least 0": self.swa_start >= 0,
        }
        broken = [message for message, holds in checks.items() if not holds]
        if broken:
            raise OptionError("; ".join(broken))

    @property
    def contradictions(self) -> dict[str, str]:
        """Fields that do not fit the others, each with the reason."""
        last, multi_step = self.checkpoint_selection == "last", self.schedule == "multi-step"
        checks = {
            ("checkpoint_selection", "needs a validation split: validation = 1000, or a share"): last
            or self.validation,
            ("warm_up_epochs", "must be below epochs"): self.warm_up_epochs < self.epochs or not self.warm_up_epochs,
            ("decay_epochs", f"have no effect on a {self.schedule} schedule"): multi_step or not self.decay_epochs,
            ("peak", "has an effect on a cyclic schedule only"): self.schedule == "cyclic" or self.peak == 0.5,
            ("ema_decay", "has an effect on EMA only"): self.weight_averaging == "ema" or self.ema_decay == 0.995,
            ("swa_start", "has an effect on SWA only"): self.weight_averaging == "swa" or self.swa_start == 0,
            ("swa_start", "must be below epochs"): self.swa_start < self.epochs or not self.swa_start,
        }
        return {name: reason for (name, reason), fits in checks.items() if not fits}

    @property
    def averaging_label(self) -> str:
        """The leaderboard's ``weight_averaging`` column: ``none``, ``ema-0.995``, ``swa-75``."""
        return {"ema": f"ema-{self.ema_decay:g}", "swa": f"swa-{self.swa_start}"}.get(self.weight_averaging, "none")

    @property
    def changes_each_step(self) -> bool:
        """Whether the learning rate changes within epochs."""
        return self.schedule != "multi-step" or self.warm_up_epochs > 0

    def held_out(self, examples: int) -> int:
        """How many of some training examples are the validation split."""
        share = self.validation
        return int(share) if isinstance(share, int) or not share else max(1, round(share * examples))

    def learning_rate_at(self, epoch: int, step: int = 0, steps: int = 1) -> float:
        """The learning rate in a step of an epoch, both counted from 0; an epoch has `steps`.

        After a linear warm-up it falls by `decay_factor` after each of the `decay_epochs`, counted from the beginning; or along
        half a cosine to 0 (Loshchilov & Hutter, "SGDR", 2017, without restarts); or it is cyclic: it rises linearly to
        `learning_rate` at the `peak` and falls linearly to 0, as in Wong, Rice, Kolter, "Fast is better than free", 2020.
        """
        taken, warm_up = epoch * steps + step, self.warm_up_epochs * steps
        if taken < warm_up:
            return self.learning_rate * (taken + 1) / warm_up
        if self.schedule == "multi-step":
            return self.learning_rate * self.decay_factor ** sum(epoch >= after for after in self.decay_epochs)
        left = self.epochs * steps - warm_up
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (taken - warm_up) / left))
        reached = (taken - warm_up + 1) / left
        return self.learning_rate * min(reached / self.peak, (1.0 - reached) / (1.0 - self.peak))


NO_TRAINING = Recipe(optimizer="none", learning_rate=0.0, epochs=0)
"""The recipe of methods without the training loop: the distance classifier, regressions."""
