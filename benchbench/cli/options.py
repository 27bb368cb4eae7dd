"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TypedDict, TypeVar, cast

import click

from benchbench.cli.printing import reserved_output
from benchbench.contract.threat import parse_number
from benchbench.errors import OptionError
from benchbench.kernels.arithmetic import PRECISIONS

_SUITE = "benchbench.suite"
Function = TypeVar("Function", bound=Callable[..., object])

FILE = click.Path(path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


class Selection(TypedDict):
    """The values of `selection_options` and of the options that go along with them."""

    profile: str | None
    only: tuple[str, ...]
    seeds: tuple[int, ...]
    device: str | None
    data: Path | None
    runs: Path | None


class Replay(TypedDict):
    """The values of `replay_options`: where recorded results are computed again."""

    data: Path | None
    runs: Path | None
    device: str | None
    download: bool


class RadiusType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on
    """Converts ``0.03`` and ``8/255``."""

    name = "RADIUS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        try:
            return parse_number(str(value))
        except OptionError as error:
            self.fail(error.message, param, ctx)


RADIUS = RadiusType()

data_option = click.option(
    "--data", type=FOLDER, help="Data root in torchvision's layout; by default the value of BENCHBENCH_DATA."
)
runs_option = click.option(
    "--runs", type=FOLDER, help="Folder of checkpoints and records; by default below BENCHBENCH_HOME."
)
leaderboards_option = click.option(
    "--leaderboards", type=FOLDER, help="Folder of the Parquet leaderboards; by default ./leaderboards."
)
device_option = click.option(
    "--device", metavar="cpu|cuda|cuda:N", help="Where to compute; by default CUDA if available, else the CPU."
)
download_option = click.option("--download", is_flag=True, help="Download missing datasets.")
quiet_option = click.option("--quiet", is_flag=True, help="Show no progress.")
precision_option = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="float32",
    help="Number format of the attacks' search. bf16 is faster on GPUs and on CPUs with AMX, tf32 on GPUs; both find weaker "
    "attacks, in separate rows.",
)
train_precision_option = click.option(
    "--train-precision",
    type=click.Choice(PRECISIONS),
    help="Number format of training. bf16 and tf32 give other models, in separate rows, which are evaluated like any. By "
    "default what the suite says, else float32.",
)


own_option = click.option(
    "--architecture",
    metavar="FILE.py:callable",
    help="Makes the networks of rows whose architecture is not registered; used where its source has the row's digest.",
)
only_option = click.option(
    "--only",
    multiple=True,
    metavar="KEY=VALUE[,VALUE]",
    help="Only cells with this value in an identity column or option, for instance defense=trades,at; repeatable.",
)


def suite_argument(function: Function) -> Function:
    """The suite, as an argument or as ``--suite``."""
    return with_options(
        function,
        click.argument("suite", required=False, metavar="SUITE", callback=_suite),
        click.option(
            "--suite",
            "named",
            metavar="NAME|FILE",
            expose_value=False,
            is_eager=True,
            callback=lambda ctx, _, value: ctx.meta.update({_SUITE: value}),
            help="The same as the argument SUITE: a suite's name, or a file.",
        ),
    )


def _suite(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    named: str | None = ctx.meta[_SUITE]
    if value and named and value != named:
        raise click.UsageError(f"two suites are given, {value!r} and --suite {named!r}: leave one out", ctx)
    if not (value or named):
        raise click.MissingParameter("name a suite, for instance closer-look, or a file", ctx, param)
    return value or named or ""


def selection_options(function: Function) -> Function:
    """Which cells: ``--profile``, ``--only``, ``--seed``."""
    return with_options(
        function,
        click.option(
            "--profile",
            metavar="NAME",
            help="paper (the full protocol), quick or another profile; by default paper on CUDA, else quick.",
        ),
        only_option,
        click.option("--seed", "seeds", type=click.IntRange(min=0), multiple=True, help="Seed of a run; repeatable."),
    )


def reserving(option: str, value: object) -> Callable[[Function], Function]:
    """Reserve standard output for the JSON document if an option has this value."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def command(*arguments: object, **options: object) -> object:
            with reserved_output() if options[option] == value else nullcontext():
                return function(*arguments, **options)

        return cast(Function, command)

    return decorate


def json_option(function: Function) -> Function:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")(
        reserving("as_json", True)(function)
    )


def folder_options(function: Function) -> Function:
    """Where: ``--data``, ``--runs``, ``--leaderboards``."""
    return with_options(function, data_option, runs_option, leaderboards_option)


def replay_options(function: Function) -> Function:
    """Where to compute again: ``--runs``, ``--data``, ``--device``, ``--download``."""
    return with_options(function, runs_option, data_option, device_option, download_option)


def check_options(function: Function) -> Function:
    """How to check rows: `replay_options`, and how to attack again."""
    return with_options(
        replay_options(function),
        click.option("--replay-only", is_flag=True, help="Replay the witnesses, and make no attack."),
        click.option(
            "--seed", type=click.IntRange(min=0), help="Chooses the attacked examples and draws; default: random."
        ),
        click.option(
            "--budget", type=click.IntRange(min=1), help="Queries of each row's attack, about; default: 3,000."
        ),
        click.option("--images", type=FOLDER, help="Where to write the images that break more than a row admits."),
        click.option(
            "--jobs",
            type=click.IntRange(min=1),
            help="Number of processes on the CPU; default: one to a core, one to four models at most.",
        ),
        own_option,
    )


def with_options(function: Function, *options: Callable[[Function], Function]) -> Function:
    """A command with options, in the order of its help."""
    for option in reversed(options):
        function = option(function)
    return function
