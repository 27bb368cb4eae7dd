"""``benchbench plugins``: list, examine and create plugins."""

from __future__ import annotations

import os
from pathlib import Path

import click

from benchbench.cli.options import FOLDER, json_option
from benchbench.cli.printing import note, print_json, print_table, say, say_lines
from benchbench.contract.offers import KINDS
from benchbench.errors import UsageError, counted
from benchbench.registry import REMEDIES, PluginInfo, examine, load_registry
from benchbench.scaffold import plugin_names, write_plugin


@click.group(name="plugins")
def command() -> None:
    """List, examine and create plugins."""


@command.command(name="list")
@json_option
def list_plugins(as_json: bool) -> None:
    """List the installed plugins and their offers."""
    plugins = load_registry().plugins
    if as_json:
        print_json([_describe(plugin) for plugin in plugins])
        return
    rows = [
        (
            plugin.name,
            f"{plugin.distribution} {plugin.version}",
            "; ".join(f"{kind}: {', '.join(names)}" for kind, names in plugin.offers.items()),
            "ok" if not plugin.problems else counted(len(plugin.problems), "problem"),
        )
        for plugin in plugins
    ]
    print_table(("plugin", "from", "offers", "state"), rows)


@command.command(name="doctor")
@json_option
def doctor(as_json: bool) -> int:
    """Explain each plugin problem; exit status 1 if there is one."""
    problems = examine(load_registry())
    if as_json:
        print_json(
            [{"plugin": p.name, "distribution": p.distribution, "error": p.error, "cause": p.cause} for p in problems]
        )
    else:
        for problem in problems:
            say(f"{problem.name} (from {problem.distribution}): {problem.error}")
            say(f"    {REMEDIES[problem.cause]}")
            if problem.traceback:
                say_lines("    " + problem.traceback.strip().replace("\n", "\n    "))
        if not problems:
            say("every plugin is healthy")
    return 1 if problems else 0


@command.command(name="new")
@click.argument("kind", metavar="|".join(KINDS))
@click.argument("name")
@click.option("--out", type=FOLDER, default=Path(), help="Folder to write into; by default the current one.")
def new(kind: str, name: str, out: Path) -> None:
    """Write a distribution with a new component.

    It works without changes.
    """
    names = plugin_names(kind, name)
    taken = [entry for entry in load_registry().offers(names.kind) if entry.offer.name == names.component]
    if taken:
        raise UsageError(
            f"the {kind} {names.component!r} exists already, in {taken[0].distribution}", hint="names are unique"
        )
    folder = write_plugin(kind, name, out=out)
    say(str(folder))
    suite = names.component if names.kind == "suite" else folder / "example.toml"
    executor = f" --executor {names.component}" if names.kind == "executor" else ""
    place = folder if folder.is_absolute() else f".{os.sep}{folder}"  # otherwise pip looks for this name on the index
    note("next:")
    note(f"  pip install -e '{place}[test]'")
    note(f"  python -m pytest {folder}")
    note(f"  benchbench run --suite {suite}{executor}")


def _describe(plugin: PluginInfo) -> dict[str, object]:
    return {
        "name": plugin.name,
        "target": plugin.target,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "offers": {kind: list(names) for kind, names in plugin.offers.items()},
        "problems": [problem.error for problem in plugin.problems],
    }
