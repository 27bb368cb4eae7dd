"""Find plugins and collect what they offer; a broken plugin is remembered and reported, never raised."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import metadata
from typing import Literal

import pluggy

from benchbench.cell.model import Component
from benchbench.contract import Offer
from benchbench.contract.offers import ENTRY_POINT_GROUP, Hooks, Kind
from benchbench.errors import suggest
from benchbench.registry.blame import plugin_traceback, summarise_error
from benchbench.registry.compatibility import api_mistake
from benchbench.registry.offers import offer_mistakes
from benchbench.version import DISTRIBUTION, __version__

HOST = "benchbench"  # the name that pluggy knows, and the prefix of the hooks
BUILT_IN_AS = ("benchbench", "0.1.0")  # distribution and version of built-in components, in ids for ever
BUILT_IN = "benchbench.builtin"  # the module of the built-in plugin
HOOKS: Mapping[str, Kind] = {
    "benchbench_datasets": "dataset",
    "benchbench_architectures": "architecture",
    "benchbench_defenses": "defense",
    "benchbench_attacks": "attack",
    "benchbench_metrics": "metric",
    "benchbench_suites": "suite",
    "benchbench_executors": "executor",
}

Cause = Literal["import", "api", "hook", "offer", "clash", "options", "product", "capability"]


@dataclass(frozen=True, kw_only=True)
class PluginProblem:
    """Why a plugin, or part of it, cannot be used.

    Attributes:
        name: entry point of the plugin.
        distribution: the distribution that it comes from.
        error: one line: what is wrong, with file and line where an exception was raised.
        traceback: where an exception was raised, from the plugin's first line on; empty otherwise.
        cause: what sort of problem it is.
    """

    name: str
    distribution: str
    error: str
    traceback: str = ""
    cause: Cause = "offer"


@dataclass(frozen=True, kw_only=True)
class Registered:
    """An offer, and who makes it.

    Attributes:
        kind: what it is.
        offer: the offer itself.
        distribution: the distribution that it comes from, of which `version` is installed.
        plugin: entry point of the plugin.
        built_in: whether it ships with benchbench.
        sources: reads the digest of its distribution's sources; empty for what is built in, or cannot be read.
    """

    kind: Kind
    offer: Offer
    distribution: str
    version: str
    plugin: str
    built_in: bool = False
    sources: Callable[[], str] = str

    def owning(self, component: Component) -> Component:
        """The component with the fields that say whose it is. A release changes no id: see `BUILT_IN_AS`."""
        distribution, version = BUILT_IN_AS if self.built_in else (self.distribution, self.version)
        return replace(
            component,
            distribution=distribution,
            version=version,
            revision=self.offer.revision,
            sources=self.sources(),
        )


@dataclass(frozen=True, kw_only=True)
class PluginInfo:
    """One plugin, for listings.

    Attributes:
        name: entry point of the plugin, which refers to `target`, a module or ``module:attribute``.
        distribution: the distribution that it comes from, of which `version` is installed.
        offers: names that it offers, for each kind.
        problems: what is wrong with it; empty for a healthy plugin.
    """

    name: str
    target: str
    distribution: str
    version: str
    offers: Mapping[Kind, tuple[str, ...]]
    problems: tuple[PluginProblem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A plugin that is not loaded yet."""

    name: str
    target: str
    distribution: str
    version: str
    load: Callable[[], object]
    sources: Callable[[], str] = str

    @property
    def built_in(self) -> bool:
        """Whether this is the plugin that ships with benchbench."""
        return self.target == BUILT_IN

    def problem(self, error: str | BaseException, *, cause: Cause) -> PluginProblem:
        """What is wrong with this plugin, as a sentence or an exception."""
        if isinstance(error, str):
            return PluginProblem(name=self.name, distribution=self.distribution, error=error, cause=cause)
        return PluginProblem(
            name=self.name,
            distribution=self.distribution,
            error=summarise_error(error),
            traceback=plugin_traceback(error),
            cause=cause,
        )


@dataclass(frozen=True, kw_only=True)
class Harvest:
    """What one plugin gave: its offers and its problems."""

    candidate: Candidate
    registered: tuple[Registered, ...] = ()
    problems: tuple[PluginProblem, ...] = ()


def find_candidates(extra_plugins: Sequence[object] = ()) -> tuple[Candidate, ...]:
    """List the installed plugins, the built-in one first, without importing any.

    Args:
        extra_plugins: plugin modules or objects that are registered though not installed, after the others.
    """
    found = metadata.entry_points(group=ENTRY_POINT_GROUP)
    installed = [_installed(entry_point) for entry_point in found if entry_point.value != BUILT_IN]
    installed.sort(key=lambda candidate: (candidate.distribution, candidate.name))
    return (_built_in(), *installed, *(_extra(plugin) for plugin in extra_plugins))


def harvest(candidates: Iterable[Candidate]) -> tuple[Harvest, ...]:
    """Load each plugin and call its hooks, one by one, so that none can harm another."""
    manager = pluggy.PluginManager(HOST)
    manager.add_hookspecs(Hooks)
    return tuple(_harvest_one(manager, candidate) for candidate in candidates)


def _installed(entry_point: metadata.EntryPoint) -> Candidate:
    distribution = entry_point.dist
    return Candidate(
        name=entry_point.name,
        target=entry_point.value,
        distribution=(distribution.name if distribution else None) or "unknown",
        version=(distribution.version if distribution else None) or "unknown",
        load=entry_point.load,
        sources=str if distribution is None else partial(_read_sources, distribution),
    )


def _read_sources(distribution: metadata.Distribution) -> str:
    """Digest of a distribution's sources, found from all its plugins."""
    from benchbench.registry.sources import distribution_digest

    return distribution_digest(
        distribution, [e.module for e in distribution.entry_points.select(group=ENTRY_POINT_GROUP)]
    )


def _built_in() -> Candidate:
    """The built-in plugin: what is imported, whether it is installed, installed twice, or a source tree."""
    return Candidate(
        name="builtin",
        target=BUILT_IN,
        distribution=DISTRIBUTION,
        version=__version__,
        load=lambda: importlib.import_module(BUILT_IN),
    )


def _extra(plugin: object) -> Candidate:
    name = getattr(plugin, "__name__", type(plugin).__name__)
    version = str(getattr(plugin, "__version__", "0"))
    sources = cache(partial(_read_files, plugin)) if name != BUILT_IN else str
    return Candidate(name=name, target=name, distribution=name, version=version, load=lambda: plugin, sources=sources)


def _read_files(plugin: object) -> str:
    from benchbench.registry.sources import plugin_digest

    return plugin_digest(plugin, [hook for name in HOOKS if callable(hook := getattr(plugin, name, None))])


def _harvest_one(manager: pluggy.PluginManager, candidate: Candidate) -> Harvest:
    try:
        plugin = candidate.load()
        if incompatible := api_mistake(plugin):
            return Harvest(candidate=candidate, problems=(candidate.problem(incompatible, cause="api"),))
        manager.register(plugin, name=f"{candidate.distribution}:{candidate.name}")
        problems = [candidate.problem(message, cause="hook") for message in _misnamed_hooks(manager, plugin)]
    except (Exception, SystemExit) as error:  # a plugin may call sys.exit when it is imported
        return Harvest(candidate=candidate, problems=(candidate.problem(error, cause="import"),))
    others = [other for other in manager.get_plugins() if other is not plugin]
    registered: list[Registered] = []
    for hook, kind in HOOKS.items():
        if manager.parse_hookimpl_opts(plugin, hook) is None:
            continue
        try:
            offers = _call_hook(manager.subset_hook_caller(hook, remove_plugins=others))
            mistakes = _mistakes(offers, kind)
        except (Exception, SystemExit) as error:
            problems.append(candidate.problem(error, cause="hook"))
            continue
        problems.extend(
            candidate.problem(f"{hook}()[{place}]: {mistakes[place]}", cause="offer") for place in sorted(mistakes)
        )
        registered.extend(
            _register(candidate, kind, offer)
            for place, offer in enumerate(offers)
            if isinstance(offer, Offer) and place not in mistakes
        )
    return Harvest(candidate=candidate, registered=tuple(registered), problems=tuple(problems))


def _call_hook(hook: Callable[[], list[object]]) -> list[object]:
    results = hook()
    if not results:  # pluggy drops None
        raise TypeError(f"{getattr(hook, 'name', 'the hook')}() returned None, expected offers")
    if isinstance(results[0], (str, bytes, Offer, Mapping)) or not isinstance(results[0], Iterable):
        raise TypeError(f"{getattr(hook, 'name', 'the hook')}() returned {results[0]!r:.80}, expected several offers")
    return list(results[0])


def _register(candidate: Candidate, kind: Kind, offer: Offer) -> Registered:
    return Registered(
        kind=kind,
        offer=offer,
        distribution=candidate.distribution,
        version=candidate.version,
        plugin=candidate.name,
        built_in=candidate.built_in,
        sources=candidate.sources,
    )


def _misnamed_hooks(manager: pluggy.PluginManager, plugin: object) -> list[str]:
    """Functions named like a hook that pluggy would never call: misspelled, or without the marker."""
    messages = []
    for name in dir(plugin):
        if not name.startswith(f"{HOST}_") or not inspect.isroutine(getattr(plugin, name, None)):
            continue
        if name not in HOOKS:
            messages.append(f"{name} is no hook: {suggest(name, HOOKS)}")
        elif manager.parse_hookimpl_opts(plugin, name) is None:
            messages.append(f"{name} is not marked with @hookimpl, so it is never called")
    return messages


def _mistakes(offers: Sequence[object], kind: Kind) -> dict[int, str]:
    """What is wrong with each malformed offer, by its place."""
    mistakes: dict[int, str] = {}
    names: set[str] = set()
    for place, offer in enumerate(offers):
        wrong = offer_mistakes(offer)
        if wrong or not isinstance(offer, Offer):
            mistakes[place] = "; ".join(wrong)
        elif offer.name in names:
            mistakes[place] = f"the {kind} {offer.name!r} is offered twice"
        else:
            names.add(offer.name)
    return mistakes
