"""What the cells of a run share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from benchbench.cell.model import Cell, Component
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
    """What the cells of a run share."""

    registry: Registry
    store: RunStore
    splits: Callable[[Component], DatasetSplits]  # returns the loaded data of a dataset component
    device: torch.device
    listener: Listener = ignore
    cuda_graphs: bool = False  # whether recordable steps become CUDA graphs on CUDA devices
    fresh: bool = False  # ignore checkpoints and measurements of earlier runs; see `benchbench.harness.succession`
    part_of: str = ""  # name under which the processes of one fresh run share measurements; empty for a single process
    forget: Callable[[Component], None] = lambda _: None  # drops the loaded data of a component
    begun: float = field(default_factory=time.time)  # when this process began, in seconds since the epoch
    stop: StopRequest = field(default_factory=StopRequest)  # checked after each step and before each pass
    trained: dict[str, TrainedModel] = field(default_factory=dict)  # the last trained model, by its id
    given: Callable[[Cell], nn.Module] | None = None  # returns the model of a cell that was trained elsewhere
    earlier: dict[str, int | None] = field(default_factory=dict)  # when earlier runs wrote checkpoints, by model id
    claims: Claims | None = None  # share cells and evaluations with other processes; None if there are none
    ranks: Ranks | None = None  # processes that share every model with this one; None if there are none
