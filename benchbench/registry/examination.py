"""Examine the installed plugins: import and, if possible, call every factory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from benchbench.cell.model import Component
from benchbench.contract.offers import KINDS
from benchbench.errors import BenchbenchError, ContractError, OptionError, PluginError
from benchbench.registry.blame import plugin_traceback
from benchbench.registry.catalog import Registry
from benchbench.registry.discovery import Cause, PluginProblem, Registered
from benchbench.registry.suitability import missing_modules

REMEDIES: Mapping[Cause, str] = {
    "import": "the plugin cannot be imported: install what it needs, upgrade it, or tell its author",
    "api": "upgrade whichever is older, benchbench or the plugin",
    "hook": "a hook is a function marked with @hookimpl that returns or yields offers: see docs/plugins.md, How hooks work",
    "offer": "an offer is a benchbench.contract.Offer with a kebab-case name and a one-line summary",
    "clash": "names are unique: uninstall a plugin, or ask its author to rename the component",
    "options": "a factory takes typed keyword parameters with defaults of their types, and no others",
    "product": "the factory must make what its kind asks for: see the Protocols in benchbench.contract",
    "capability": "install what is missing, or correct the offer's capabilities",
}
_METHODS = {
    "dataset": "load",
    "defense": "loss, step or fit",
    "attack": "perturb",
    "metric": "measure",
    "executor": "execute",
}


def examine(registry: Registry) -> tuple[PluginProblem, ...]:
    """Every problem by plugin: those from loading, and those from using the plugins' components.

    Built-in components are not examined: they have tests, and the plan says what an optional one needs. The examination
    imports the plugins' libraries, torch among them.
    """
    found = list(registry.problems)
    for kind in KINDS:
        for entry in registry.offers(kind):
            if not entry.built_in:
                found.extend(_capability_problems(entry))
                found.extend(_use(registry, entry))
    return tuple(sorted(found, key=lambda problem: (problem.distribution, problem.name)))


def _capability_problems(entry: Registered) -> Iterator[PluginProblem]:
    what, capabilities = f"{entry.kind} {entry.offer.name!r}", entry.offer.capabilities
    if not capabilities.norms:
        yield _problem(entry, f"{what} claims to work for no norm, so no suite can use it", "capability")
    for module, command in missing_modules(capabilities).items():
        yield _problem(entry, f"{what} needs the module {module}, which is not installed: {command}", "capability")


def _use(registry: Registry, entry: Registered) -> Iterator[PluginProblem]:
    """Import the factory, read its options, and call it if no option is required."""
    cause: Cause = "options"
    try:
        name = _usable_name(registry, entry)
        specs = registry.options(entry.kind, name)
        if any(spec.required for spec in specs):
            return
        cause = "product"
        component = registry.resolve(entry.kind, name)
        if entry.kind == "architecture":
            _build(registry, entry, component)
    except BenchbenchError as error:
        yield _explain(entry, error, cause)


def _usable_name(registry: Registry, entry: Registered) -> str:
    """The component's name; for a family, the name of its first member."""
    if entry.offer.members is None:
        return entry.offer.name
    members = registry.members(entry.kind, entry.offer.name)
    if not members:
        raise PluginError(f"{entry.kind} {entry.offer.name!r} is a family without members")
    return f"{entry.offer.name}:{members[0]}"


def _explain(entry: Registered, error: BenchbenchError, cause: Cause) -> PluginProblem:
    origin = error.__cause__
    trace = plugin_traceback(origin) if isinstance(origin, Exception) else ""
    if isinstance(origin, (ImportError, AttributeError, SyntaxError)) and not isinstance(error, OptionError):
        cause = "import"
    text = f"{error.message}: {error.hint}" if error.hint else error.message
    if isinstance(error, ContractError) and entry.kind in _METHODS:
        text += f", an object with a method {_METHODS[entry.kind]}"
    return _problem(entry, text, cause, trace)


def _build(registry: Registry, entry: Registered, component: Component) -> None:
    """Make a network for an accepted input, without changing torch's random state."""
    import torch

    capabilities = entry.offer.capabilities
    height, width = capabilities.smallest_input or (32, 32)
    shape = (capabilities.channels[0] if capabilities.channels else 3, max(32, height), max(32, width))
    with torch.random.fork_rng(devices=[]), suppress(OptionError):  # it accepts other shapes only
        registry.make("architecture", component, input_shape=shape, classes=max(10, capabilities.minimum_classes))


def _problem(entry: Registered, error: str, cause: Cause, trace: str = "") -> PluginProblem:
    return PluginProblem(name=entry.plugin, distribution=entry.distribution, error=error, traceback=trace, cause=cause)
