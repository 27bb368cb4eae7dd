"""The job file, which the run writes for its workers below the runs folder.

<runs>/jobs/<name>/job.json      the request, the folders, and the units with their cells
<runs>/jobs/<name>/suite.toml    the suite as the run read it; later changes of its file affect later runs only
<runs>/jobs/<name>/token         random; a machine that reads another content does not share the folder
<runs>/jobs/<name>/journals/     the events of each worker
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchbench.atomic import write_bytes_atomically
from benchbench.errors import DataError, StorageError
from benchbench.planning.preparing import Request
from benchbench.settings import Folders

Times = tuple[int | None, int | None]  # of the finished and the failed record of a cell: see `RunStore.record_times`
_JOB, _SUITE, _TOKEN = "job.json", "suite.toml", "token"


@dataclass(frozen=True, kw_only=True)
class Job:
    """The part of a run that its workers need."""

    folder: Path  # of the job, absolute
    token: str  # content of the file ``token``
    request: Request  # its suite is the copy in the folder
    folders: Folders  # absolute
    units: Mapping[str, tuple[str, ...]]  # cell ids by the name of their unit
    estimates: Mapping[str, float]  # predicted seconds by cell id, as far as known
    before: Mapping[str, Times]  # when the cells' records were written before this run; newer ones are its results
    # checkpoints: when the models' checkpoints were written before this run, by model id; a fresh run ignores these
    checkpoints: Mapping[str, int | None]
    begun: float  # seconds since the epoch when the run began
    deadline: float | None = None  # seconds since the epoch when the budget is used up; None without a budget

    @property
    def journals(self) -> Path:
        """The folder of the journals."""
        return self.folder / "journals"


def job_folder(folders: Folders, name: str) -> Path:
    """The folder of the job of this name."""
    return (folders.runs / "jobs" / name).absolute()


def write_job(job: Job, suite: bytes) -> None:
    """Write the files of a job, replacing those of an earlier job of the same name."""
    document = dataclasses.asdict(job)
    del document["folder"]  # another machine may see it under another path
    write_bytes_atomically(job.folder / _SUITE, suite)
    write_bytes_atomically(job.folder / _JOB, json.dumps(document, indent=1, default=str).encode())
    write_bytes_atomically(job.folder / _TOKEN, job.token.encode())


def suite_copy(folder: Path) -> Path:
    """The copy of the suite in the folder of a job."""
    return folder / _SUITE


def read_job(folder: Path) -> Job:
    """Read what `write_job` wrote; StorageError if it is not there, DataError if it is damaged."""
    path = folder / _JOB
    try:
        document = json.loads(path.read_bytes())
        request = document["request"]
        document.update(
            folder=folder,
            request=Request(**{**request, "only": tuple(request["only"]), "seeds": tuple(request["seeds"])}),
            folders=Folders(**{name: Path(value) for name, value in document["folders"].items()}),
            units={name: tuple(cells) for name, cells in document["units"].items()},
            before={cell: (times[0], times[1]) for cell, times in document["before"].items()},
        )
        return Job(**document)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be read: {error.strerror or error}", hint="is the runs folder shared with this machine?"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{path} is damaged: {error}", hint="the same 'benchbench run' writes it anew") from error
