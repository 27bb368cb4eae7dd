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
        forget: drops the loaded data of a dataset component, so that `splits` loads it again.
        earlier: when the checkpoints of earlier runs were written, by model id; a newer one is from a process of this run.
        part_of: name under which the processes of one fresh run share their measurements; empty for a run in one process.
        stop: checked after each step of training and before each pass of an evaluation.
    """

    registry: Registry
    store: RunStore
    splits: Callable[[Component], DatasetSplits]  # returns the loaded data of a dataset component
    device: torch.device
    listener: Listener = ignore
    cuda_graphs: bool = False  # whether recordable steps become CUDA graphs on CUDA devices
    fresh: bool = False  # ignore checkpoints and measurements of earlier runs; see `benchbench.harness.succession`
    part_of: str = ""
    forget: Callable[[Component], None] = lambda _: None
    begun: float = field(default_factory=time.time)  # when this process began, in seconds since the epoch
    stop: StopRequest = field(default_factory=StopRequest)
    trained: dict[str, TrainedModel] = field(default_factory=dict)  # the last trained model, by its id
    earlier: dict[str, int | None] = field(default_factory=dict)
    claims: Claims | None = None  # share cells and evaluations with other processes; None if there are none
    ranks: Ranks | None = None  # processes that share every model with this one; None if there are none
