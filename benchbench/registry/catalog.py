"""The registry: find a component by kind and name, check its options, make it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, overload

from benchbench.cell.model import Component
from benchbench.contract import Attack, Capabilities, Dataset, Executor, Metric
from benchbench.contract.offers import KINDS, Kind
from benchbench.contract.training import AnyDefense
from benchbench.errors import PLUGIN_FAULTS, BenchbenchError, OptionError, PluginError, UnknownNameError, UsageError
from benchbench.registry.blame import place_of
from benchbench.registry.clashes import find_clashes
from benchbench.registry.components import PROTOCOLS, require_protocol
from benchbench.registry.discovery import PluginInfo, PluginProblem, Registered, find_plugins, load_plugins
from benchbench.registry.factories import Factories, check_product, plugin_error
from benchbench.registry.known import unknown_name
from benchbench.registry.options import OptionSpec, convert_options, option_specs
from benchbench.registry.problems import InvalidOptionsError

if TYPE_CHECKING:
    import os

    from torch import nn

_SUPPLIED: Mapping[Kind, tuple[str, ...]] = {"architecture": ("input_shape", "classes")}
_MEMBER = "member"  # parameter of a family's factory: the part of the name after the colon
MAXIMUM_NESTING = 8  # components within components
_MOST_MEMBERS = 3  # of a family, named for an unknown component


class Registry:
    """Everything that the plugins offer. Factories are imported at their first use."""

    def __init__(self, plugins: Sequence[PluginInfo]) -> None:
        registered = [entry for plugin in plugins for entry in plugin.registered]
        clashes = find_clashes(registered)
        self._clashes = {(clash.kind, clash.name): clash for clash in clashes}
        named = ((entry, self._clashes.get((entry.kind, entry.offer.name))) for entry in registered)
        kept = [entry for entry, clash in named if clash is None or clash.keeper is entry]
        self._entries = {(entry.kind, entry.offer.name): entry for entry in kept}
        self._factories = Factories()
        self._specs: dict[tuple[Kind, str], tuple[OptionSpec, ...]] = {}
        self._members: dict[tuple[Kind, str], tuple[str, ...]] = {}
        self._nesting = 0
        self.plugins = tuple(  # every plugin, working or not, the built-in one first
            one.with_problems(one.problem(c.message, cause="clash") for c in clashes if c.blames(one.registered))
            for one in plugins
        )

    @property
    def problems(self) -> tuple[PluginProblem, ...]:
        """The problems of all plugins."""
        return tuple(problem for plugin in self.plugins for problem in plugin.problems)

    def offers(self, kind: Kind) -> tuple[Registered, ...]:
        """The usable offers of a kind, sorted by name."""
        _check_kind(kind)
        entries = [entry for entry in self._entries.values() if entry.kind == kind]
        return tuple(sorted(entries, key=lambda entry: entry.offer.name))

    def get(self, kind: Kind, name: str) -> Registered:
        """Find a component; ``family:member`` finds the family.

        An unknown name is an UnknownNameError that hints at the nearest ones, a family without a member a UsageError, a name
        that two distributions claim a PluginError.
        """
        _check_kind(kind)
        own, colon, member = name.partition(":")
        entry = self._entries.get((kind, own))
        clash = self._clashes.get((kind, own))
        if entry is None and clash is not None:
            raise PluginError(clash.message, hint="uninstall one of them, or ask its author to rename it")
        if entry is None or (colon and entry.offer.members is None):
            raise self._unknown(kind, name)
        if entry.offer.members is not None and not member:
            raise UsageError(f"{kind} {own!r} is a family", hint=f"name one of its members, as in '{own}:member'")
        return entry

    def capabilities(self, component: Component) -> Capabilities:
        """The capabilities in the offer of a component."""
        return self.get(component.kind, component.name).offer.capabilities

    def members(self, kind: Kind, name: str) -> tuple[str, ...]:
        """The members of a family, sorted, empty for others; may import the family's library.

        If that is not installed, this is a UsageError; if the family cannot list them, a PluginError.
        """
        own = name.partition(":")[0]
        entry = self._entries.get((kind, own))
        if entry is None or entry.offer.members is None:
            return ()
        if (kind, own) not in self._members:
            list_members: Callable[[], Iterable[str]] = self._factories.load(entry, entry.offer.members)
            try:
                self._members[kind, own] = tuple(sorted(list_members()))
            except UsageError:
                raise
            except PLUGIN_FAULTS as error:
                raise plugin_error(entry, "cannot list its members", error) from error
        return self._members[kind, own]

    def find_members(self, kind: Kind, name: str) -> tuple[str, ...]:
        """Full names, as ``foolbox:FGSM``, of members with this name, else of those that contain it."""
        found: list[tuple[str, str]] = []
        for family in (entry.offer.name for entry in self.offers(kind) if entry.offer.members is not None):
            with suppress(UsageError, PluginError):
                found += ((one.lower(), f"{family}:{one}") for one in self.members(kind, family))
        exact = [full for member, full in found if member == name.lower()]
        return tuple(
            exact or [full for member, full in found if len(name) > 3 and name.lower() in member][:_MOST_MEMBERS]
        )

    def options(self, kind: Kind, name: str) -> tuple[OptionSpec, ...]:
        """The options of a component, including those that a preset fixes.

        It is a PluginError if the factory cannot be imported, or has a parameter of a type that a suite cannot write.
        """
        entry = self.get(kind, name)
        key = (kind, entry.offer.name)
        if key not in self._specs:
            self._specs[key] = self._read_options(entry)
        return self._specs[key]

    def resolve(self, kind: Kind, name: str, options: Mapping[str, object] | None = None) -> Component:
        """Check a component's options, also nested ones, and fill in defaults and preset.

        The component is made once, so that its constructor checks the ranges. Architectures are not, because they need to know
        the data.

        Raises:
            UnknownNameError: no component has this name, or the family has no such member.
            InvalidOptionsError: options are unknown, missing or of the wrong type, or components that cannot be resolved.
            OptionError: the constructor rejects a value.
            PluginError: the component cannot be imported or made.
        """
        component, _ = self._resolve(kind, name, options or {})
        return component

    def _resolve(self, kind: Kind, name: str, options: Mapping[str, object]) -> tuple[Component, object]:
        """The component and its product, which is None for an architecture."""
        entry = self.get(kind, name)
        specs = self.options(kind, name)
        family, _, member = name.partition(":")
        if member and member not in self.members(kind, name):
            raise UnknownNameError(kind, name, [f"{family}:{known}" for known in self.members(kind, name)])
        values, problems = convert_options(specs, options, resolve=self._resolve_option)
        if problems:
            raise InvalidOptionsError(f"{kind} {name!r}", problems)
        component = entry.owning(Component(kind=kind, name=name, options=values, distribution="", version=""))
        return component, None if kind == "architecture" else self._make(component)

    def as_here(self, component: Component) -> Component:
        """A recorded component with its distribution, revision and sources in this installation."""
        return self.get(component.kind, component.name).owning(component)

    @overload
    def make(self, kind: Literal["dataset"], component: Component) -> Dataset: ...
    @overload
    def make(
        self, kind: Literal["architecture"], component: Component, *, input_shape: tuple[int, ...], classes: int
    ) -> nn.Module: ...
    @overload
    def make(self, kind: Literal["defense"], component: Component) -> AnyDefense: ...
    @overload
    def make(self, kind: Literal["attack"], component: Component) -> Attack: ...
    @overload
    def make(self, kind: Literal["metric"], component: Component) -> Metric: ...
    @overload
    def make(self, kind: Literal["suite"], component: Component) -> str | os.PathLike[str]: ...
    @overload
    def make(self, kind: Literal["executor"], component: Component) -> Executor: ...
    def make(self, kind: Kind, component: Component, **supplied: object) -> object:
        """Make a component from its resolved options; its kind decides the type of the result.

        Components among its options are made first. The host supplies ``input_shape`` and ``classes`` to an architecture. An
        option that the constructor rejects is an OptionError; a factory that cannot be imported, raises another error, or makes
        something of another kind a PluginError; a component of another kind a TypeError.
        """
        if component.kind != kind:
            raise TypeError(f"expected a component of kind {kind!r}, got {component.kind} {component.name!r}")
        return self._make(component, **supplied)

    def _make(self, component: Component, **supplied: object) -> object:
        entry = self.get(component.kind, component.name)
        factory = self._factories.load(entry, entry.offer.factory)
        options = {name: self._made(value) for name, value in component.options.items()}
        if entry.offer.members is not None:
            supplied[_MEMBER] = component.name.partition(":")[2]
        try:
            product = factory(**options, **supplied)
        except OptionError as error:
            raise OptionError(f"{component.kind} {component.name!r}: {error.message}", hint=error.hint) from error
        except BenchbenchError:
            raise
        except PLUGIN_FAULTS as error:
            raise plugin_error(entry, f"cannot make {component.name!r}", error) from error
        check_product(component, product)
        return product

    def _made(self, value: object) -> object:
        if isinstance(value, tuple):
            return tuple(self._made(entry) for entry in value)
        return self._make(value) if isinstance(value, Component) else value

    def _resolve_option(self, protocol: type, name: str, options: Mapping[str, object]) -> Component:
        """Resolve a component that is an option of another."""
        if self._nesting >= MAXIMUM_NESTING:  # a preset may name the component that it belongs to
            raise OptionError(f"components are nested more than {MAXIMUM_NESTING} deep")
        self._nesting += 1
        try:
            component, product = self._resolve(PROTOCOLS[protocol], name, options)
        finally:
            self._nesting -= 1
        require_protocol(protocol, component, product)
        return component

    def _read_options(self, entry: Registered) -> tuple[OptionSpec, ...]:
        supplied = (*_SUPPLIED.get(entry.kind, ()), *((_MEMBER,) if entry.offer.members is not None else ()))
        factory, preset = self._factories.load(entry, entry.offer.factory), entry.offer.preset
        try:
            specs = option_specs(factory, supplied=supplied)
            values, problems = convert_options(specs, preset, partial=True, resolve=self._resolve_option)
        except (TypeError, ValueError) as error:
            raise plugin_error(entry, f"has options that no suite can set{place_of(factory)}", error) from error
        if problems:
            raise PluginError(str(InvalidOptionsError(f"preset of {entry.kind} {entry.offer.name!r}", problems)))
        if unknown := set(entry.offer.shown or ()) - {spec.name for spec in specs}:
            raise PluginError(f"{entry.kind} {entry.offer.name!r}: shown names no option: {', '.join(sorted(unknown))}")
        return tuple(
            dataclasses.replace(spec, default=values[spec.name], required=False, fixed=True)
            if spec.name in preset
            else spec
            for spec in specs
        )

    def _unknown(self, kind: Kind, name: str) -> UnknownNameError:
        members = self.find_members(kind, name)
        if members:
            return UnknownNameError(kind, name, members, hint=f"did you mean {' or '.join(map(repr, members))}?")
        offered = [entry.offer.name for entry in self.offers(kind)]
        return unknown_name(kind, name, offered, broken={problem.distribution for problem in self.problems})


def load_registry(*, extra_plugins: Sequence[object] = ()) -> Registry:
    """Discover the installed plugins; `Registry.problems` lists the broken ones."""
    return Registry(load_plugins(find_plugins(extra_plugins)))


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)
