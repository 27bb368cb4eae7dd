"""Joining the processes that torchrun started, by the variables that it sets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from benchbench.errors import UsageError

if TYPE_CHECKING:
    import torch

    from benchbench.ranks.group import Ranks

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
JOIN_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What the launcher reports about this process."""

    rank: int
    count: int  # number of ranks, at least 2
    local_rank: int  # this rank's number on its machine, from 0; the index of its GPU
    address: str  # of the machine of rank 0
    port: int  # of the key-value store on that machine
    store_runs: bool  # whether the launcher itself hosts the store


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """Return what torchrun reports about this process; None for a single process."""
    if environment.get("WORLD_SIZE", "1") == "1" or "RANK" not in environment:
        return None
    missing = [name for name in _VARIABLES if not environment.get(name)]
    if missing:
        raise UsageError(
            f"the environment has RANK and WORLD_SIZE, but no {' and no '.join(missing)}",
            hint="start several processes by torchrun: torchrun --nproc-per-node 2 -m benchbench run ...",
        )
    try:
        rank, count, local_rank, port = (
            int(environment[n]) for n in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
        )
    except ValueError as error:
        raise UsageError(f"RANK, WORLD_SIZE, LOCAL_RANK and MASTER_PORT must be numbers: {error}") from error
    if not 0 <= rank < count:
        raise UsageError(f"RANK is {rank} of a WORLD_SIZE of {count}")
    return Launch(
        rank=rank,
        count=count,
        local_rank=local_rank,
        address=environment["MASTER_ADDR"],
        port=port,
        store_runs=environment.get("TORCHELASTIC_USE_AGENT_STORE", "").lower() == "true",
    )


def follows(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is a rank above 0, which neither writes nor reports."""
    launch = find_launch(environment)
    return launch is not None and launch.rank > 0


def local_device(device: torch.device, launch: Launch) -> torch.device:
    """Return the device of this rank; on CUDA, each rank needs its own GPU."""
    import torch

    if device.type != "cuda":
        return device
    if device.index is not None:
        raise UsageError(f"--device {device} is one GPU for {launch.count} ranks", hint="--device cuda: one for each")
    if launch.local_rank >= torch.cuda.device_count():
        raise UsageError(
            f"rank {launch.rank} finds no GPU: each rank needs its own, this machine has {torch.cuda.device_count()}",
            hint="--nproc-per-node: as many as there are GPUs",
        )
    return torch.device("cuda", launch.local_rank)


@contextmanager
def joined(launch: Launch, device: torch.device) -> Iterator[Ranks]:
    """Run a block together with the other ranks, on the `local_device`."""
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore, TCPStore  # the type stubs of torch.distributed lack them

    from benchbench.ranks.group import Ranks

    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    try:
        store = TCPStore(
            launch.address,
            launch.port,
            is_master=launch.rank == 0 and not launch.store_runs,
            timeout=timedelta(seconds=JOIN_SECONDS),
        )
        shared = PrefixStore("benchbench", store)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            store=PrefixStore("groups", shared),
            rank=launch.rank,
            world_size=launch.count,
            device_id=device if on_gpu else None,  # NCCL then connects now, so that connection errors surface here
        )
    except RuntimeError as error:
        raise UsageError(f"the other ranks cannot be reached at {launch.address}:{launch.port}: {error}") from error
    ranks = Ranks(shared, device)
    try:
        yield ranks
    finally:
        ranks.leave()
