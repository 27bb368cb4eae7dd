"""``benchbench show``: one component with its options."""

from __future__ import annotations

import dataclasses

import click

from benchbench.cell.model import Component, canonical
from benchbench.cli.listing import parse_kind
from benchbench.cli.options import json_option
from benchbench.cli.printing import print_json, print_table, say
from benchbench.contract.offers import Capabilities, Kind
from benchbench.errors import UnknownNameError
from benchbench.registry import OptionSpec, Registered, Registry, load_registry
from benchbench.registry.components import takes_components
from benchbench.registry.wording import describe, shown
from benchbench.suite import Experiment, Suite, read_suite


@click.command(name="show")
@click.argument("kind", metavar="KIND")
@click.argument("name", metavar="NAME")
@json_option
def command(kind: str, name: str, as_json: bool) -> None:
    """Show a component: summary, options, capabilities, citation, members; a suite's grid."""
    registry = load_registry()
    parsed = parse_kind(kind)
    name = _full_name(registry, parsed, name)
    family, _, member = name.partition(":")
    members = registry.members(parsed, family)
    if member and members and member not in members:
        raise UnknownNameError(parsed, name, [f"{family}:{known}" for known in members])
    example = f"{family}:{members[0]}" if members else name
    entry, options = registry.get(parsed, example), registry.options(parsed, example)
    members = () if member else members
    if as_json:
        print_json(_document(entry, name, options, members))
    else:
        _print(entry, name, options, members)
    if parsed == "suite" and not as_json:
        _print_suite(read_suite(name, registry))


def _full_name(registry: Registry, kind: Kind, name: str) -> str:
    """The name; for an unknown one, the only member of a family that has it, in any case."""
    if ":" in name or name in {entry.offer.name for entry in registry.offers(kind)}:
        return name
    found = registry.find_members(kind, name)
    return found[0] if len(found) == 1 else name


def _print_suite(suite: Suite) -> None:
    """Its file, and what it trains and attacks in each profile."""
    say(f"file: {suite.source}")
    say(f"protocol: {suite.protocol}; seeds: {', '.join(map(str, suite.seeds))}")
    for profile in suite.profiles:
        say()
        say(f"profile {profile}")
        rows = [_grid(one) for one in suite.profile(profile)]
        print_table(("experiment", "dataset", "threat", "architectures", "defenses", "attacks"), rows)


def _grid(experiment: Experiment) -> tuple[str, ...]:
    threat = ", ".join(f"{one.norm} {one.epsilon:.4g}" for one in experiment.evaluation)
    first = (experiment.name, experiment.dataset.name, threat)
    if experiment.skip:
        return *first, f"skipped: {experiment.skip}", "", ""
    parts = (experiment.architectures, experiment.defenses, experiment.attacks)
    return *first, *(", ".join(dict.fromkeys(component.name for component in part)) for part in parts)


def _document(
    entry: Registered, name: str, options: tuple[OptionSpec, ...], members: tuple[str, ...]
) -> dict[str, object]:
    return {
        "name": name,
        "kind": entry.kind,
        "summary": entry.offer.summary,
        "distribution": entry.distribution,
        "version": entry.version,
        "revision": entry.offer.revision,
        "citation": entry.offer.citation,
        "capabilities": canonical(dataclasses.asdict(entry.offer.capabilities)),
        "options": [
            {
                "name": option.name,
                "type": _type_name(option.annotation),
                "default": canonical(option.default) if not option.required else None,
                "required": option.required,
                "fixed": option.fixed,
            }
            for option in options
        ],
        "members": list(members),
    }


def _print(entry: Registered, name: str, options: tuple[OptionSpec, ...], members: tuple[str, ...]) -> None:
    say(f"{entry.kind} {name}: {entry.offer.summary}")
    revised = f", revision {entry.offer.revision}" if entry.offer.revision > 1 else ""
    say(f"from {entry.distribution} {entry.version}{revised}")
    if entry.offer.citation:
        say(f"source: {entry.offer.citation}")
    usual = dataclasses.asdict(Capabilities())
    stated = {key: value for key, value in dataclasses.asdict(entry.offer.capabilities).items() if value != usual[key]}
    if stated:
        say("capabilities: " + ", ".join(f"{key}={canonical(value)}" for key, value in stated.items()))
    if options:
        rows = [(o.name, _type_name(o.annotation), _default(o)) for o in options]
        print_table(("option", "type", "default"), rows)
    if members:
        say(f"{len(members)} members: {', '.join(members[:40])}{', ...' if len(members) > 40 else ''}")


def _default(option: OptionSpec) -> str:
    if option.required:
        return "(required)"
    default = shown(option.default) if isinstance(option.default, Component) else repr(option.default)
    return f"{default} (fixed)" if option.fixed else default


def _type_name(annotation: object) -> str:
    if takes_components(annotation):
        return describe(annotation)
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
