"""The command line: a thin layer over the Python API, and the only place that prints.

A command is imported when it is called, so that ``--help`` imports neither torch nor plugins.
"""

from __future__ import annotations

import errno
import importlib
import io
import logging
import os
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import NoReturn

import click

from benchbench.atomic import full_disk
from benchbench.cli.namesake import require_own_files
from benchbench.errors import BenchbenchError, suggest
from benchbench.escaping import printable
from benchbench.version import __version__

# Attacks and training allocate and free the same megabytes at every step; in small pages the system clears and maps thousands
# of them each time. Huge pages for large tensors on a CPU are faster, with the same bits (docs/performance.md).
VARIABLE = "THP_MEM_ALLOC_ENABLE"  # torch reads it once, at its first allocation; workers inherit it
POLICY = Path("/sys/kernel/mm/transparent_hugepage/enabled")  # Linux's file that says which processes get huge pages


def ask_for_huge_pages(environment: MutableMapping[str, str] = os.environ, policy: Path = POLICY) -> None:
    """Make torch request huge pages unless the user has set the variable or there are none."""
    try:
        allowed = policy.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return
    if "[madvise]" in allowed or "[always]" in allowed:
        environment.setdefault(VARIABLE, "1")


def limit_spinning(environment: MutableMapping[str, str] = os.environ) -> None:
    """Make threads that wait for others sleep sooner, unless the user has set how they wait.

    Those of libgomp, which torch uses, spin for milliseconds. Where others used the cores, that doubled the time of a training
    step on two threads, and tripled its processor time; on a quiet machine it made no difference.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", "10000")


INTERRUPTED = 130

# name -> (module below benchbench.cli, one line for --help); a module named list would hide the built-in of that name here
COMMANDS = {
    "run": ("run", "Train, attack and measure the cells of a suite, and print its table."),
    "plan": ("plan", "Show what would run, what is cached, what is skipped and why."),
    "status": ("status", "Show which cells of a suite are pending, running, done or failed."),
    "check": ("check", "Validate a suite file: all problems at once."),
    "list": ("listing", "List datasets, architectures, defenses, attacks, metrics, suites or executors."),
    "show": ("show", "Show one component: options, capabilities, citation."),
    "table": ("table", "Print a leaderboard as a table."),
    "findings": ("findings", "Judge what a suite, or its paper, states."),
    "figure": ("figure", "Draw the papers' figures from measured rows."),
    "compare": ("compare", "Compare models or leaderboards on the same examples; rank a leaderboard."),
    "verify": ("verify", "Replay the stored adversarial images of a leaderboard; confirm or refute each row."),
    "leaderboard": ("leaderboard", "Merge leaderboards; pack or check a submission."),
    "report": ("report", "Write static HTML pages of the leaderboards."),
    "rerun": ("rerun", "Recompute a recorded cell and show what differs."),
    "evaluate": ("evaluate", "Attack your own model."),
    "audit": ("audit", "Try to refute a claimed robust accuracy."),
    "parity": ("parity", "Compare one attack in several libraries, example by example."),
    "separation": ("separation", "Measure how far apart the classes of a dataset are."),
    "data": ("data", "List, fetch or verify datasets."),
    "plugins": ("plugins", "List, examine and create plugins."),
    "work": ("work", "Carry out a part of a run; executors start this."),
    "doctor": ("doctor", "Examine this installation."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"benchbench.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the arguments; for an unknown name the error has the nearest one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"unknown command {args[0]!r}; {suggest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="benchbench")
def cli() -> None:
    """Benchmark adversarial robustness: suites of datasets, architectures, defenses and attacks.

    Every number of the leaderboards can be traced, run again and checked.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed cells, 2 wrong usage, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    ask_for_huge_pages()
    limit_spinning()
    if words[:1] not in (["run"], ["work"]):
        _exit(invoke(words))
    from benchbench.cli.signals import exit_when_terminated, leave, leave_if_terminated

    if words[0] == "work":
        leave(invoke(words))
    exit_when_terminated()
    status = invoke(words)
    leave_if_terminated(status)
    _exit(status)


def _exit(status: int) -> NoReturn:
    """Exit, and forget what standard output refuses: Python would try again, and exit with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
    sys.exit(status)


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Escape the message, which may have names from files."""
        return printable(record.getMessage())


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; a user's mistake becomes one message."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a sign that the stream cannot encode is written as its number
            stream.reconfigure(errors="backslashreplace")
    from benchbench.cli.printing import complain, complain_of_usage

    if logging.lastResort is not None:  # what prints warnings unless a program that embeds benchbench says otherwise
        logging.lastResort.setFormatter(_PrintableFormatter())
    try:
        require_own_files()
        status = cli.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        complain_of_usage(error)
        return error.exit_code
    except BenchbenchError as error:
        complain(f"error: {error}")
        return error.exit_status
    except (KeyboardInterrupt, click.Abort):
        complain("interrupted")
        return INTERRUPTED
    except OSError as error:
        complain(f"error: {_refused(error)}")
        return BenchbenchError.exit_status
    return status if isinstance(status, int) else 0


def _refused(error: OSError) -> str:
    """What the system refused: too long a name, a full standard output, a full disk, ..."""
    if error.errno == errno.ENOSPC and not error.filename:
        return f"standard output: {error.strerror}"
    return str(full_disk(error) or (f"{error.filename!s:.200}: {error.strerror}" if error.filename else error))
