"""``benchbench work``: carry out a part of a run; executors start it."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import click

from benchbench.cli.options import FOLDER
from benchbench.cli.signals import stop_signals
from benchbench.contract import DONE, STOPPED
from benchbench.stopping import Stopped, StopRequest

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@click.command(name="work")
@click.argument("folder", type=FOLDER)
@click.argument("units", nargs=-1)
@click.option("--token", required=True, help="Identifies the run: the token that it wrote to the folder.")
@click.option("--worker", required=True, help="Name of this worker and of its journal.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of torch on the CPU; by default torch's choice.")
@click.option(
    "--leashed", is_flag=True, help="Stop when standard input closes, because the run that started this ended."
)
def command(folder: Path, units: tuple[str, ...], token: str, worker: str, threads: int | None, leashed: bool) -> int:
    """Carry out UNITS (or all) of the run whose job file is in FOLDER.

    Executors call this; users call 'benchbench run'. Exit status: 0 done; 75 stopped after a checkpoint, by a signal or the end
    of the budget; 2 cannot continue; 66 the folder belongs to another run.
    """
    if threads is not None:
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))

    from benchbench.executors.working import open_job, stop_request, work

    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    job = open_job(folder, token)
    stop = stop_request(job)
    if leashed:
        threading.Thread(target=_stop_at_the_end_of_input, args=(stop,), name="leash", daemon=True).start()
    try:
        with stop_signals(stop):
            left = work(job, worker=worker, units=units, stop=stop)
    except Stopped:
        return STOPPED
    return STOPPED if left else DONE


def _stop_at_the_end_of_input(stop: StopRequest) -> None:
    while os.read(0, 1):
        pass
    stop.request("the run that started this worker has ended")
    os.kill(os.getpid(), signal.SIGTERM)  # forces the exit after a grace period
