"""``benchbench list``: what is registered."""

from __future__ import annotations

import click

from benchbench.cli.options import json_option
from benchbench.cli.printing import note, print_json, print_table
from benchbench.contract.offers import KINDS, Kind
from benchbench.errors import UnknownNameError
from benchbench.registry import Registered, load_registry


@click.command(name="list")
@click.argument("kind", metavar="KIND")
@json_option
def command(kind: str, as_json: bool) -> None:
    """List everything of one KIND: dataset, architecture, defense, attack, metric, suite or executor (plurals work too)."""
    registry = load_registry()
    offers = registry.offers(parse_kind(kind))
    if as_json:
        print_json([_describe(entry) for entry in offers])
        return
    rows = [(_shown_name(entry), entry.offer.summary, f"{entry.distribution} {entry.version}") for entry in offers]
    print_table(("name", "summary", "from"), rows)
    if registry.problems:
        note(f"{len(registry.problems)} plugin problems: see 'benchbench plugins doctor'")


def parse_kind(text: str) -> Kind:
    """The kind that a word names, singular or plural.

    Raises:
        UnknownNameError: it names none.
    """
    for kind in KINDS:
        if text.lower() in (kind, f"{kind}s"):
            return kind
    raise UnknownNameError("kind", text, KINDS)


def _shown_name(entry: Registered) -> str:
    return f"{entry.offer.name}:<member>" if entry.offer.members is not None else entry.offer.name


def _describe(entry: Registered) -> dict[str, object]:
    return {
        "name": entry.offer.name,
        "kind": entry.kind,
        "summary": entry.offer.summary,
        "family": entry.offer.members is not None,
        "distribution": entry.distribution,
        "version": entry.version,
        "citation": entry.offer.citation,
    }
