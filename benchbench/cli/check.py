"""``benchbench check``: validate a suite file."""

from __future__ import annotations

import dataclasses

import click

from benchbench.cli.options import json_option, suite_argument
from benchbench.cli.printing import print_json, say
from benchbench.errors import SuiteError
from benchbench.registry import load_registry
from benchbench.suite import read_suite


@click.command(name="check")
@suite_argument
@json_option
def command(suite: str, as_json: bool) -> int:
    """Validate a suite and print all problems at once, with line and nearest valid name.

    Exit status: 0 valid, 2 not.
    """
    try:
        found = read_suite(suite, load_registry())
    except SuiteError as error:
        if as_json:
            problems = [dataclasses.asdict(problem) for problem in error.problems]
            print_json({"file": suite, "valid": False, "problems": problems})
            return error.exit_status
        raise
    if as_json:
        print_json({"file": suite, "valid": True, "problems": []})
    else:
        say(f"{suite}: valid; suite {found.name}, profiles {', '.join(found.profiles)}")
    return 0
