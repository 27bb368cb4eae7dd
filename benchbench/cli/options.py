"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from benchbench.contract.threat import parse_number
from benchbench.errors import OptionError
from benchbench.kernels.arithmetic import PRECISIONS

Function = TypeVar("Function", bound=Callable[..., object])

_FOLDER = click.Path(file_okay=False, path_type=Path)


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


def suite_option(function: Function) -> Function:
    """``--suite``: a name or a TOML file."""
    return click.option("--suite", required=True, metavar="NAME|FILE.toml", help="A suite by name, or a TOML file.")(
        function
    )


def selection_options(function: Function) -> Function:
    """Which cells: ``--profile``, ``--only``, ``--seed``."""
    function = click.option(
        "--seed", "seeds", type=click.IntRange(min=0), multiple=True, help="Seed of the runs; may be repeated."
    )(function)
    function = click.option(
        "--only",
        multiple=True,
        metavar="KEY=VALUE[,VALUE]",
        help="Only cells with this value in an identity column, for instance defense=trades,at; may be repeated.",
    )(function)
    return click.option(
        "--profile",
        metavar="NAME",
        help="paper (the full protocol) or quick; by default paper on CUDA, quick otherwise.",
    )(function)


def folder_options(function: Function) -> Function:
    """Where: ``--data``, ``--runs``, ``--leaderboards``."""
    function = click.option(
        "--leaderboards", type=_FOLDER, help="Folder of the Parquet leaderboards; default ./leaderboards."
    )(function)
    function = click.option(
        "--runs", type=_FOLDER, help="Folder of checkpoints and records; default below BENCHBENCH_HOME."
    )(function)
    return data_option(function)


def data_option(function: Function) -> Function:
    """``--data``: the data root."""
    return click.option(
        "--data", type=_FOLDER, help="Data root in torchvision's layout; default the environment's BENCHBENCH_DATA."
    )(function)


def device_option(function: Function) -> Function:
    """``--device``."""
    return click.option("--device", metavar="cpu|cuda|cuda:N", help="Where to compute; default CUDA if there is one.")(
        function
    )


def precision_option(function: Function) -> Function:
    """``--precision``."""
    return click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default="float32",
        help="bf16, tf32: attacks search in rounded numbers: bf16 is faster on GPUs and CPUs with AMX, tf32 on GPUs; both are "
        "weaker, and have rows of their own.",
    )(function)


def train_precision_option(function: Function) -> Function:
    """``--train-precision``."""
    return click.option(
        "--train-precision",
        type=click.Choice(PRECISIONS),
        help="bf16, tf32: train in rounded numbers, faster where --precision is: other models, with rows of their own, "
        "which are evaluated like any. Default: what the suite says, float32 unless it says otherwise.",
    )(function)


def json_option(function: Function) -> Function:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")(function)
