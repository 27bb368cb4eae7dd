"""``benchbench check``: validate a suite file."""

from __future__ import annotations

import dataclasses

import click

from benchbench.cli.options import json_option
from benchbench.cli.printing import print_json, say
from benchbench.errors import SuiteError
from benchbench.registry import load_registry
from benchbench.suite import read_suite


@click.command(name="check")
@click.argument("file", metavar="FILE.toml")
@json_option
def command(file: str, as_json: bool) -> int:
    """Validate a suite and print all problems at once, with line and nearest valid name.

    Exit status: 0 valid, 2 not.
    """
    try:
        suite = read_suite(file, load_registry())
    except SuiteError as error:
        if as_json:
            problems = [dataclasses.asdict(problem) for problem in error.problems]
            print_json({"file": file, "valid": False, "problems": problems})
            return error.exit_status
        raise
    if as_json:
        print_json({"file": file, "valid": True, "problems": []})
    else:
        say(f"{file}: valid; suite {suite.name}, profiles {', '.join(suite.profiles)}")
    return 0
