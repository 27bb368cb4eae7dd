"""What the cells of a run share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from benchbench.cell.model import Component
from benchbench.contract import DatasetSplits
from benchbench.events import Listener, ignore
from benchbench.ranks.group import Ranks
from benchbench.records import RunStore
from benchbench.records.claims import Claims
from benchbench.registry import Registry
from benchbench.stopping import StopRequest
from benchbench.training import TrainedModel


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """What the cells of a run share.

    Attributes:
        registry: makes the components.
        store: checkpoints, measurements and records.
        splits: gives the loaded data of a dataset component.
        forget: has the data of a dataset component loaded anew when it is next asked for.
        device: where everything runs.
        listener: is told what happens.
        cuda_graphs: whether steps that can be are recorded as CUDA graphs and replayed, on CUDA devices.
        fresh: ignore finished checkpoints and measurements of earlier runs; see `benchbench.harness.succession`.
        earlier: when the checkpoints of earlier runs were written, by model id; newer ones are other processes' of this run.
        part_of: names the run that this is a part of, where a fresh one has several processes, one after another or at once:
            what they measure is kept for each other under this name. Empty for a run of its own.
        begun: when this process took up the work, in seconds since the epoch.
        stop: is asked after each step of training and before each pass through the model in evaluation.
        trained: the model at hand, by its id.
        claims: shares evaluations with other processes; None where there are none.
        ranks: processes that share every model with this one; None where there are none.
    """

    registry: Registry
    store: RunStore
    splits: Callable[[Component], DatasetSplits]
    device: torch.device
    listener: Listener = ignore
    cuda_graphs: bool = False
    fresh: bool = False
    part_of: str = ""
    forget: Callable[[Component], None] = lambda _: None
    begun: float = field(default_factory=time.time)
    stop: StopRequest = field(default_factory=StopRequest)
    trained: dict[str, TrainedModel] = field(default_factory=dict)
    earlier: dict[str, int | None] = field(default_factory=dict)
    claims: Claims | None = None
    ranks: Ranks | None = None
