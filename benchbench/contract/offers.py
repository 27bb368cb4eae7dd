"""What a plugin offers: components (kind, name, factory, capabilities), returned by hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import pluggy

from benchbench.contract.threat import NORMS, Norm
from benchbench.errors import OptionError

API_VERSION = 1
ENTRY_POINT_GROUP = "benchbench"

hookspec = pluggy.HookspecMarker("benchbench")
hookimpl = pluggy.HookimplMarker("benchbench")

Kind = Literal["dataset", "architecture", "defense", "attack", "metric", "suite", "executor"]
KINDS: tuple[Kind, ...] = ("dataset", "architecture", "defense", "attack", "metric", "suite", "executor")


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a component can do. The plan skips impossible combinations and gives the reason.

    Attributes:
        norms: threat norms of an attack or defense.
        minimum_classes: smallest number of classes.
        needs_gradients: whether it needs input gradients of the model.
        uses_threat: whether a defense trains against the threat. If not, its model is the same for every radius and norm,
            and is trained once for all of them.
        deterministic: whether equal generators give equal results on one machine.
        smallest_input: smallest (height, width) that an architecture accepts; None for any.
        channels: numbers of channels that an architecture accepts, or that the images of a dataset have; empty for any.
        task: ``"classification"``, ``"regression"``, or ``"any"`` for both.
        requires: names of required optional modules, each with the command that installs it; without one, the component's
            cells are skipped.
        fills: columns of the leaderboard that a metric fills, for instance ``test_lipschitz``. An undeclared value there is
            refused, and so is one that disagrees with the examples. Values under other names need no declaration.
        architectures: names of the architectures that it works with, or of their families (``timm``); empty for any.
        elsewhere: whether an executor's workers run on other machines, so that devices are sought there.
    """

    norms: tuple[Norm, ...] = NORMS
    minimum_classes: int = 2
    needs_gradients: bool = False
    uses_threat: bool = True
    deterministic: bool = True
    smallest_input: tuple[int, int] | None = None
    channels: tuple[int, ...] = ()
    task: Literal["classification", "regression", "any"] = "classification"
    requires: Mapping[str, str] = field(default_factory=dict)
    fills: tuple[str, ...] = ()
    elsewhere: bool = False
    architectures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One component that a plugin adds.

    Attributes:
        name: unique within its kind, in kebab-case. A family's name is a prefix: ``timm`` answers for ``timm:resnet50``.
        summary: one line for listings.
        factory: makes the component; or ``"module:attribute"``, imported on first use. Its keyword parameters, typed with
            bool, int, float, str, tuples of these, Literal or None, are the component's options. A parameter typed with a
            Protocol (`Dataset`, `Defense`, `Attack` or `Metric`) takes another component: a suite writes its name, or a table
            of name and options, and the factory receives the component. A family's factory receives the part of the name
            after the colon as ``member``.
        preset: options fixed by this name, for instance ``{"steps": 10}`` for ``pgd-10``; a suite cannot change them.
        capabilities: what it can do.
        citation: its source: authors, title, year, and the equation if that helps.
        revision: at least 1; raised when the component's numbers change on purpose, so that new rows have new ids.
        members: of a family: lists its members (or ``"module:attribute"``); None for a single component.
    """

    name: str
    summary: str
    factory: Callable[..., object] | str
    preset: Mapping[str, object] = field(default_factory=dict)
    capabilities: Capabilities = field(default_factory=Capabilities)
    citation: str = ""
    revision: int = 1
    members: Callable[[], Iterable[str]] | str | None = None


class Hooks:
    """The hooks, one for each kind. Each returns the offers of one plugin."""

    @hookspec
    def benchbench_datasets(self) -> Iterable[Offer]:
        """Offer datasets."""
        return ()

    @hookspec
    def benchbench_architectures(self) -> Iterable[Offer]:
        """Offer architectures."""
        return ()

    @hookspec
    def benchbench_defenses(self) -> Iterable[Offer]:
        """Offer defenses: training methods."""
        return ()

    @hookspec
    def benchbench_attacks(self) -> Iterable[Offer]:
        """Offer attacks."""
        return ()

    @hookspec
    def benchbench_metrics(self) -> Iterable[Offer]:
        """Offer metrics."""
        return ()

    @hookspec
    def benchbench_suites(self) -> Iterable[Offer]:
        """Offer suites: the factory returns the path of a TOML file."""
        return ()

    @hookspec
    def benchbench_executors(self) -> Iterable[Offer]:
        """Offer executors: they start the worker processes of a run."""
        return ()


def require(checks: Mapping[str, bool]) -> None:
    """Refuse options: raise one OptionError that names every broken requirement.

    The checks map each requirement in words, with the value that came, to whether it holds; for instance ``{f"steps must be at
    least 1, got {steps}": steps >= 1}``.
    """
    broken = [requirement for requirement, holds in checks.items() if not holds]
    if broken:
        raise OptionError("; ".join(broken))
