"""Find plugins and collect their offers; a broken plugin becomes a problem, not an error."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import metadata
from typing import Literal

import pluggy

from benchbench.cell.model import Component
from benchbench.contract import Offer
from benchbench.contract.offers import ENTRY_POINT_GROUP, KINDS, Hooks, Kind
from benchbench.errors import PLUGIN_FAULTS, suggest
from benchbench.registry.blame import plugin_traceback, summarise_error
from benchbench.registry.offers import api_mistake, offer_mistakes
from benchbench.version import DISTRIBUTION, __version__

_log = logging.getLogger(__name__)
HOST = "benchbench"  # the project, and the prefix of its hooks
BUILT_IN_AS = ("benchbench", "0.1.0")  # of built-in components: part of ids, which no release changes
BUILT_IN = "benchbench.builtin"  # the module of the built-in plugin, under any name of the distribution
HOOKS: Mapping[str, Kind] = {f"{HOST}_{kind}s": kind for kind in KINDS}

Cause = Literal["import", "api", "hook", "offer", "clash", "options", "product", "capability"]


@dataclass(frozen=True, kw_only=True)
class PluginProblem:
    """Why a plugin, or part of it, cannot be used: one line, and an exception's traceback."""

    name: str
    distribution: str
    error: str
    traceback: str = ""
    cause: Cause = "offer"


@dataclass(frozen=True, kw_only=True)
class Registered:
    """An offer, and the plugin that makes it."""

    kind: Kind
    offer: Offer
    distribution: str
    version: str
    plugin: str  # entry point of the plugin
    built_in: bool = False
    sources: Callable[[], str] = str  # reads the digest of its sources; empty for built-in or unreadable ones

    def owning(self, component: Component) -> Component:
        """The component with its distribution, version, revision and sources; see `BUILT_IN_AS`."""
        distribution, version = BUILT_IN_AS if self.built_in else (self.distribution, self.version)
        return replace(
            component, distribution=distribution, version=version, revision=self.offer.revision, sources=self.sources()
        )


@dataclass(frozen=True, kw_only=True)
class PluginInfo:
    """One plugin: its entry point ``name = target``, and after loading its offers and problems."""

    name: str
    target: str
    distribution: str
    version: str
    load: Callable[[], object]
    sources: Callable[[], str] = str
    registered: tuple[Registered, ...] = ()
    problems: tuple[PluginProblem, ...] = ()

    @property
    def built_in(self) -> bool:
        """Whether this is the plugin that ships with benchbench."""
        return self.target == BUILT_IN

    @property
    def offers(self) -> Mapping[Kind, tuple[str, ...]]:
        """The names that it offers, by kind."""
        names = {kind: tuple(entry.offer.name for entry in self.registered if entry.kind == kind) for kind in KINDS}
        return {kind: offered for kind, offered in names.items() if offered}

    def problem(self, error: str | BaseException, *, cause: Cause) -> PluginProblem:
        """A problem of this plugin, from a sentence or an exception."""
        text, trace = (error, "") if isinstance(error, str) else (summarise_error(error), plugin_traceback(error))
        return PluginProblem(name=self.name, distribution=self.distribution, error=text, traceback=trace, cause=cause)

    def with_problems(self, problems: Iterable[PluginProblem]) -> PluginInfo:
        """This plugin with more problems."""
        return replace(self, problems=(*self.problems, *problems))


def find_plugins(extra_plugins: Sequence[object] = ()) -> tuple[PluginInfo, ...]:
    """List the installed plugins, the built-in one first, then extra ones, without imports."""
    installed = [_installed(entry_point) for entry_point in _entry_points() if entry_point.value != BUILT_IN]
    installed.sort(key=lambda plugin: (plugin.distribution, plugin.name))
    return (_built_in(), *installed, *(_extra(plugin) for plugin in extra_plugins))


def load_plugins(plugins: Iterable[PluginInfo]) -> tuple[PluginInfo, ...]:
    """Load each plugin and call its hooks separately, so that no plugin can harm another."""
    manager = pluggy.PluginManager(HOST)
    manager.add_hookspecs(Hooks)
    return tuple(_load(manager, plugin) for plugin in plugins)


def _entry_points() -> list[metadata.EntryPoint]:
    try:
        return [*metadata.entry_points(group=ENTRY_POINT_GROUP)]
    except Exception:  # the metadata of some distribution are damaged: the others', one by one
        return [one for distribution in metadata.distributions() for one in _entry_points_of(distribution)]


def _entry_points_of(distribution: metadata.Distribution) -> list[metadata.EntryPoint]:
    try:
        return [*distribution.entry_points.select(group=ENTRY_POINT_GROUP)]
    except Exception as error:
        _log.warning("unreadable entry points in %s: %s", distribution.locate_file(""), summarise_error(error))
        return []


def _installed(entry_point: metadata.EntryPoint) -> PluginInfo:
    distribution = entry_point.dist
    try:
        name, version = (distribution.name, distribution.version) if distribution else ("", "")
    except Exception:  # its metadata are damaged
        name = version = ""
    return PluginInfo(
        name=entry_point.name,
        target=entry_point.value,
        distribution=name or "unknown",
        version=version or "unknown",
        load=partial(_load_entry_point, entry_point),
        sources=str if distribution is None else partial(_read_sources, distribution),
    )


def _load_entry_point(entry_point: metadata.EntryPoint) -> object:
    if not entry_point.pattern.match(entry_point.value):
        form = "expected module, or module:attribute"
        raise ImportError(f"the entry point {entry_point.name!r} is {entry_point.value!r}, {form}")
    return entry_point.load()


def _read_sources(distribution: metadata.Distribution) -> str:
    from benchbench.registry.sources import distribution_digest

    plugins = distribution.entry_points.select(group=ENTRY_POINT_GROUP)
    return distribution_digest(distribution, [plugin.module for plugin in plugins])


def _built_in() -> PluginInfo:
    """The built-in plugin: what is imported, and whether installed, twice, or a source tree."""
    return PluginInfo(
        name="builtin",
        target=BUILT_IN,
        distribution=DISTRIBUTION,
        version=__version__,
        load=lambda: importlib.import_module(BUILT_IN),
    )


def _extra(plugin: object) -> PluginInfo:
    name = getattr(plugin, "__name__", type(plugin).__name__)
    version = str(getattr(plugin, "__version__", "0"))
    sources = cache(partial(_read_files, plugin)) if name != BUILT_IN else str
    return PluginInfo(name=name, target=name, distribution=name, version=version, load=lambda: plugin, sources=sources)


def _read_files(plugin: object) -> str:
    from benchbench.registry.sources import plugin_digest

    return plugin_digest(plugin, [hook for name in HOOKS if callable(hook := getattr(plugin, name, None))])


def _load(manager: pluggy.PluginManager, info: PluginInfo) -> PluginInfo:
    try:
        plugin = info.load()
        if incompatible := api_mistake(plugin):
            return info.with_problems([info.problem(incompatible, cause="api")])
        manager.register(plugin, name=f"{info.distribution}:{info.name}")
        problems = [info.problem(message, cause="hook") for message in _misnamed_hooks(manager, plugin)]
    except PLUGIN_FAULTS as error:
        return info.with_problems([info.problem(error, cause="import")])
    others = [other for other in manager.get_plugins() if other is not plugin]
    registered: list[Registered] = []
    for hook, kind in HOOKS.items():
        if manager.parse_hookimpl_opts(plugin, hook) is None:
            continue
        try:
            offers = _call_hook(manager.subset_hook_caller(hook, remove_plugins=others))
            mistakes = _mistakes(offers, kind)
        except PLUGIN_FAULTS as error:
            problems.append(info.problem(error, cause="hook"))
            continue
        wrong = (f"{hook}()[{place}]: {mistakes[place]}" for place in sorted(mistakes))
        problems.extend(info.problem(message, cause="offer") for message in wrong)
        registered.extend(
            _register(info, kind, offer)
            for place, offer in enumerate(offers)
            if isinstance(offer, Offer) and place not in mistakes
        )
    return replace(info, registered=tuple(registered), problems=tuple(problems))


def _call_hook(hook: Callable[[], list[object]]) -> list[object]:
    results = hook()
    if not results:  # pluggy drops None
        raise TypeError(f"{getattr(hook, 'name', 'the hook')}() returned None, expected offers")
    if isinstance(results[0], (str, bytes, Offer, Mapping)) or not isinstance(results[0], Iterable):
        raise TypeError(f"{getattr(hook, 'name', 'the hook')}() returned {results[0]!r:.80}, expected several offers")
    return list(results[0])


def _register(info: PluginInfo, kind: Kind, offer: Offer) -> Registered:
    return Registered(
        kind=kind,
        offer=offer,
        distribution=info.distribution,
        version=info.version,
        plugin=info.name,
        built_in=info.built_in,
        sources=info.sources,
    )


def _misnamed_hooks(manager: pluggy.PluginManager, plugin: object) -> list[str]:
    """Functions named like hooks that pluggy never calls: misspelled, or without the marker."""
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
    """The mistakes of malformed offers, by position."""
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
