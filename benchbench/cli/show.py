"""``benchbench show``: one component with its options."""

from __future__ import annotations

import dataclasses

import click

from benchbench.cell.model import Component, canonical
from benchbench.cli.listing import parse_kind
from benchbench.cli.options import json_option
from benchbench.cli.printing import print_json, print_table, say
from benchbench.errors import UnknownNameError
from benchbench.registry import OptionSpec, Registered, load_registry
from benchbench.registry.components import takes_components
from benchbench.registry.wording import describe, shown


@click.command(name="show")
@click.argument("kind", metavar="KIND")
@click.argument("name", metavar="NAME")
@json_option
def command(kind: str, name: str, as_json: bool) -> None:
    """Show a component: summary, options, capabilities, citation, and the members of a family."""
    registry = load_registry()
    parsed = parse_kind(kind)
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
    capabilities = dataclasses.asdict(entry.offer.capabilities)
    say("capabilities: " + ", ".join(f"{key}={canonical(value)}" for key, value in capabilities.items()))
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
