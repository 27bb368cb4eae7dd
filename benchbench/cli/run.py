"""``benchbench run``: train, attack and measure the cells of a suite."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from benchbench.cli import INTERRUPTED, options
from benchbench.cli.components import COMPONENT
from benchbench.cli.display import progress_display
from benchbench.cli.printing import note, print_json
from benchbench.cli.signals import REQUEUE, requeue, stop_signals
from benchbench.cli.table import print_rows
from benchbench.errors import RankError
from benchbench.kernels.arithmetic import Precision
from benchbench.stopping import BUDGET_USED, Stopped, StopRequest, parse_duration

if TYPE_CHECKING:
    from benchbench.running.execution import RunResult

NAMED = 8  # values of metrics in the note after a table


class RunOptions(options.Selection):
    """The values of the options that `command` passes on."""

    leaderboards: Path | None
    download: bool
    fresh: bool
    precision: Precision
    train_precision: Precision | None
    cuda_graphs: bool


@click.command(name="run")
@options.suite_argument
@options.selection_options
@options.device_option
@options.folder_options
@options.download_option
@click.option("--fresh", is_flag=True, help="Compute every cell again; a record stays until the new one is complete.")
@options.precision_option
@options.train_precision_option
@click.option(
    "--cuda-graphs",
    is_flag=True,
    help="On CUDA, record steps and replay them: equal results, faster for small networks. Not yet measured on a device.",
)
@click.option(
    "--budget",
    metavar="DURATION",
    help="Stop cleanly within this time, for instance 45s, 30m or 1h30m; the cheapest models of each experiment run first.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Worker processes at once: a GPU slot each, or the cores divided among them; 1 is this process alone. Default on a "
    "CPU, and on CUDA: one thread to each model, in as many workers as there are cores, models, memory and work for.",
)
@click.option(
    "--executor",
    type=COMPONENT,
    metavar="NAME|{name=..., OPTION=...}",
    help="The executor that starts the workers: local, slurm or a plugin's; by default local for several jobs.",
)
@options.quiet_option
@options.json_option
def command(
    suite: str,
    budget: str | None,
    jobs: int | None,
    executor: str | dict[str, object] | None,
    quiet: bool,
    as_json: bool,
    **chosen: Unpack[RunOptions],
) -> int:
    """Train, attack and measure the cells of a suite; update and print its leaderboard.

    Finished cells are not computed again; the same command resumes an interrupted run. Processes that share the folders share
    the cells, and so do the worker processes of --jobs and --executor. SIGTERM writes a checkpoint and exits within 5 s;
    under Slurm SIGUSR1 does the same and requeues the job. Ctrl-C stops local workers, but not those on a cluster: the same
    command finds them again, and 'benchbench status' shows what they do.
    Processes started by torchrun (torchrun --nproc-per-node 2 -m benchbench run ...) share each model: its training batch by
    batch, its evaluation shard by shard; rank 0 writes and prints.
    Exit status: 0 done, or the budget is used up; 1 some cells failed or are left after a signal, or all were skipped;
    2 usage or suite error; 130 interrupted.
    """
    from benchbench.api import run
    from benchbench.ranks.launch import follows
    from benchbench.running.execution import summarise

    silent = follows()
    if not silent:
        _warn_of_useless_rounding({chosen["precision"], chosen["train_precision"] or "float32"}, chosen["device"])
    stop = StopRequest(None if budget is None else parse_duration(budget))
    try:
        with stop_signals(stop, last=True), progress_display(quiet=quiet or silent) as listener:
            result = run(
                suite,
                **chosen,
                listener=listener,
                stop=stop,
                jobs="auto" if jobs is None and executor is None else jobs,
                executor=executor,
            )
    except KeyboardInterrupt:
        note(f"interrupted: {_how_to_resume(chosen['fresh'])}")
        return INTERRUPTED
    except Stopped as reason:
        note(f"{reason}: {_how_to_resume(chosen['fresh'])}")
        return 1
    except RankError as error:
        if silent and not error.message.startswith(f"rank {os.environ['RANK']} "):
            return error.exit_status  # the failed rank and rank 0 print the error
        raise
    if silent:
        return 0
    if stop.reason == REQUEUE and result.left:
        note(requeue())
    if as_json:
        print_json({**summarise(result), "rows": [dataclasses.asdict(row) for row in result.rows]})
    else:
        print_rows(result.rows, result.leaderboard)
        if not result.rows:
            note("no rows to show: see above why")
        note(f"leaderboard: {result.leaderboard}")
        _name_extras(result)
    unfinished = (result.left or not result.rows) and stop.reason != BUDGET_USED
    return 1 if result.failed or unfinished else 0


def _how_to_resume(fresh: bool) -> str:
    if fresh:
        return "earlier results stand, and so does what is recorded; the same command goes on with what was in training"
    return "finished cells and checkpoints are kept; the same command goes on from here"


def _warn_of_useless_rounding(precisions: set[Precision], device: str | None) -> None:
    from benchbench.settings import find_device, why_rounding_is_in_vain

    for precision in sorted(precisions - {"float32"}):
        in_vain = why_rounding_is_in_vain(precision, find_device(device))
        if in_vain:
            note(f"{precision} will not help here: {in_vain}")


def _name_extras(result: RunResult) -> None:
    """Name the values of metrics that the printed table does not show."""
    from benchbench.escaping import printable
    from benchbench.leaderboard.extras import extra_names

    names = extra_names(result.rows)
    if names:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        note(f"also measured: {', '.join(map(printable, names[:NAMED]))}{more}")
        note(f"to see one: benchbench table {result.leaderboard} --extra {printable(names[0])}")
