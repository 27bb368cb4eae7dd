"""``benchbench check``: validate a suite file, and show it resolved."""

from __future__ import annotations

import dataclasses

import click

from benchbench.cli.options import json_option, suite_argument
from benchbench.cli.printing import print_json, say, say_lines
from benchbench.errors import SuiteError, UsageError
from benchbench.registry import load_registry
from benchbench.suite import read_suite
from benchbench.suite.explanation import explain as resolved


@click.command(name="check")
@suite_argument
@click.option(
    "--explain",
    is_flag=True,
    help="Print it as TOML with nothing left to merge: extends, defaults and profiles applied.",
)
@click.option("--profile", metavar="NAME", help="With --explain: only this profile; by default all.")
@json_option
def command(suite: str, explain: bool, profile: str | None, as_json: bool) -> int:
    """Validate a suite and print all problems at once, with line and nearest valid name.

    Exit status: 0 valid, 2 not.
    """
    if profile is not None and not explain:
        raise UsageError("--profile goes with --explain", hint="without it, every profile is checked")
    registry = load_registry()
    try:
        found = read_suite(suite, registry)
    except SuiteError as error:
        if as_json:
            problems = [dataclasses.asdict(problem) for problem in error.problems]
            print_json({"file": suite, "valid": False, "problems": problems})
            return error.exit_status
        raise
    text = resolved(found, registry, profile) if explain else ""
    if as_json:
        print_json({"file": suite, "valid": True, "problems": []} | ({"explained": text} if explain else {}))
    elif explain:
        say_lines(text.rstrip("\n"))
    else:
        say(f"{suite}: valid; suite {found.name}, profiles {', '.join(found.profiles)}")
    return 0
