"""Chooses who carries out a run: this process, or an executor with its workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.contract import Executor
from benchbench.errors import UsageError
from benchbench.events import Listener
from benchbench.planning.preparing import Prepared, Request
from benchbench.registry import Registry
from benchbench.registry.lookup import ComponentEntry, find_component
from benchbench.registry.suitability import missing_modules
from benchbench.stopping import StopRequest

if TYPE_CHECKING:
    import torch

LOCAL = "local"


@dataclass(frozen=True, kw_only=True)
class Crew:
    """An executor for a run."""

    name: str
    executor: Executor
    workers: int | None  # number of simultaneous workers; None leaves it to the executor
    elsewhere: bool  # whether they run on other machines, with other devices than this one


@dataclass(frozen=True, kw_only=True)
class Commission:
    """A planned run for a crew; `estimates` are predicted seconds by cell id, as far as known."""

    prepared: Prepared
    crew: Crew
    listener: Listener
    stop: StopRequest
    estimates: Mapping[str, float]


def choose_crew(entry: ComponentEntry | None, jobs: int | None, registry: Registry) -> Crew | None:
    """Make the executor that the user chose; None if this process does the work."""
    if jobs is not None and jobs < 1:
        raise UsageError(f"expected at least one job, got {jobs}")
    if entry is None and jobs in (None, 1):
        return None
    component = find_component(registry, "executor", LOCAL if entry is None else entry)
    capabilities = registry.capabilities(component)
    for module, command in missing_modules(capabilities).items():
        raise UsageError(f"executor {component.name!r} needs {module}, which is not installed", hint=command)
    return Crew(
        name=component.name,
        executor=registry.make("executor", component),
        workers=jobs,
        elsewhere=capabilities.elsewhere,
    )


def planning_device(request: Request, crew: Crew | None) -> torch.device | None:
    """The CPU if only the workers have the device, as from a login node; None for the request's."""
    import torch

    if crew is not None and request.device is not None and request.device.startswith("cuda:"):
        raise UsageError(
            f"--device {request.device} is one GPU, and workers have one each",
            hint="--device cuda; the environment's CUDA_VISIBLE_DEVICES says which ones",
        )
    lacking = (request.device or "cpu").partition(":")[0] == "cuda" and not torch.cuda.is_available()
    return torch.device("cpu") if crew is not None and crew.elsewhere and lacking else None
