"""``benchbench list``: the registered components of a kind."""

from __future__ import annotations

import click

from benchbench.cli.options import json_option
from benchbench.cli.printing import note, print_json, print_table
from benchbench.contract.offers import KINDS, Kind
from benchbench.errors import UnknownNameError, counted
from benchbench.registry import Registered, load_registry


@click.command(name="list")
@click.argument("kind", metavar="KIND")
@json_option
def command(kind: str, as_json: bool) -> None:
    """List the components of a KIND.

    KIND is dataset, architecture, defense, attack, metric, suite or executor, or a plural.
    """
    registry = load_registry()
    offers = registry.offers(parse_kind(kind))
    if as_json:
        print_json([_describe(entry) for entry in offers])
        return
    names = [f"{e.offer.name}:<member>" if e.offer.members is not None else e.offer.name for e in offers]
    rows = [(name, e.offer.summary, f"{e.distribution} {e.version}") for name, e in zip(names, offers)]
    print_table(("name", "summary", "from"), rows)
    if registry.problems:
        note(f"{counted(len(registry.problems), 'plugin problem')}: see 'benchbench plugins doctor'")


def parse_kind(text: str) -> Kind:
    """The kind that a singular or plural word names."""
    for kind in KINDS:
        if text.lower() in (kind, f"{kind}s"):
            return kind
    raise UnknownNameError("kind", text, KINDS)


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
