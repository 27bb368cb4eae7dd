"""The units of a run as tasks of a Dask cluster."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchbench.contract import DONE, NOT_SHARED, REFUSED, STOPPED, Host, UsageError, Work, require

POLL_SECONDS = 0.25
STOP_SECONDS = 10.0  # a worker stops within 5 s of SIGTERM
CONNECT_SECONDS = 20.0
OWN_WORKERS = 2


class DaskExecutor:
    """Each unit is a task, which starts a worker process and waits for it; Dask decides where.

    Args:
        address: of a scheduler, for instance ``"tcp://10.0.0.1:8786"``; empty to start a cluster on this machine for the
            length of the run.
        threads: of torch in each worker process.

    Raises:
        OptionError: fewer than one thread.
    """

    def __init__(self, *, address: str = "", threads: int = 1) -> None:
        require({f"threads must be at least 1, got {threads}": threads >= 1})
        self._address = address
        self._threads = threads

    def execute(self, work: Work, host: Host) -> None:
        """Carry out the work; see `benchbench.contract.Executor`."""
        tasks: dict[str, Any] = {}
        stop = work.folder / f"stop-{secrets.token_hex(8)}"
        with self._client(work) as client, _stopping(tasks, stop):
            host.say(f"{len(work.units)} tasks on the Dask cluster {client.scheduler.address}")
            tasks.update({unit.name: self._submit(client, work, unit.name, stop) for unit in work.units})
            while tasks:
                host.wait(POLL_SECONDS)
                if client.status not in ("running", "connecting"):
                    raise UsageError(f"the Dask scheduler {self._address} is gone", hint="start it, and run again")
                for unit in [unit for unit, task in tasks.items() if task.done()]:
                    if self._is_over(unit, tasks.pop(unit), host):
                        continue
                    tasks[unit] = self._submit(client, work, unit, stop)

    def _submit(self, client: Any, work: Work, unit: str, stop: Path) -> Any:
        command = work.command(unit, [unit], threads=self._threads, leashed=True)
        return client.submit(carry_out, command, str(stop), pure=False)

    def _is_over(self, unit: str, task: Any, host: Host) -> bool:
        """Whether the unit of a task that has ended needs no further task."""
        error = task.exception()
        status = task.result() if error is None else None
        if status in (DONE, STOPPED):
            return True
        host.wait(0.0)  # raises the error that a worker reported before it refused
        if status == NOT_SHARED and unit in host.left():
            raise UsageError(
                "a Dask worker does not see the runs folder", hint="choose one with --runs that all machines share"
            )
        if status != REFUSED:
            host.died(unit, f"ended with status {status}" if error is None else f"lost by Dask ({error})")
        return unit not in host.left()

    @contextmanager
    def _client(self, work: Work) -> Iterator[Any]:
        from distributed import Client, LocalCluster

        if not self._address:
            workers = min(work.workers or OWN_WORKERS, len(work.units))
            with (
                LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
                Client(cluster) as client,
            ):
                yield client
            return
        try:
            client = Client(self._address, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"no Dask scheduler answers at {self._address!r}: {error}", hint="for instance tcp://10.0.0.1:8786"
            ) from error
        with client:
            yield client


@contextmanager
def _stopping(tasks: Mapping[str, Any], stop: Path) -> Iterator[None]:
    """Ask the running tasks to stop if the block is left early, and wait until they have."""
    try:
        yield
    except BaseException:
        stop.touch()
        end = time.monotonic() + STOP_SECONDS
        while time.monotonic() < end and any(task.status == "pending" for task in tasks.values()):
            time.sleep(POLL_SECONDS)
        raise


def carry_out(command: tuple[str, ...], stop: str) -> int:
    """Run a worker process until it ends or the file `stop` appears; return its exit status."""
    if Path(stop).exists():
        return STOPPED
    process = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603
    try:
        while True:
            try:
                return process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                if Path(stop).exists():
                    process.terminate()
    finally:
        if process.stdin is not None:
            process.stdin.close()
