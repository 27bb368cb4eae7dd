"""A case of the collection: a model, its data, its ball and surrogates for stronger attacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from benchbench.contract import Examples, Threat

Half = Literal["tuning", "held-out"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model to be evaluated.

    Attributes:
        train: examples that it was trained on.
        test: examples that it is attacked on.
        surrogates: differentiable models that answer almost like it, for the strong attack only: perturbations that break them
            are tried on the model (BPDA, Athalye et al. 2018).
    """

    model: nn.Module
    train: Examples
    test: Examples
    classes: int
    threat: Threat
    surrogates: tuple[nn.Module, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A case by its name.

    Attributes:
        half: ``"tuning"``: the diagnostics were chosen on it. ``"held-out"``: it was measured once after that.
        planted: whether PGD-10 overestimates it by construction; else it is honest.
        mechanism: what deceives the attack, or why it is honest.
        reference: who showed it.
        random: whether its answers are random, so that the result of an attack depends on chance.
    """

    name: str
    half: Half
    planted: bool
    mechanism: str
    make: Callable[[], Case]
    reference: str = ""
    random: bool = field(default=False)
