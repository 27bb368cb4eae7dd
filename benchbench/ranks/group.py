"""The ranks of a run, as one rank sees them: sums, decisions, orders, failures.

Rank 0 leads. All ranks must make the same calls in the same order; otherwise they wait for each other forever. Decisions and
bytes go through gloo on the host, sums of tensors through gloo on a CPU and NCCL on a GPU. Whoever reaches torchrun's ports can
send anything, so all that ranks exchange is plain: numbers, tensors and JSON. Nothing is unpickled.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from benchbench.errors import RankError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import ProcessGroup, Store

POLL_SECONDS = 0.05  # how often a follower looks for its next order
LEAVE_SECONDS = 3.0
_FAILURE, _GONE = "failure", "gone"


@dataclass(frozen=True, kw_only=True)
class Part:
    """The examples ``first:last``, at least one, that a rank computes of a batch of `whole`."""

    first: int
    last: int
    whole: int
    # counts: False where the batch is too small to give this rank an example. The rank then borrows the last one, so that every
    # rank makes the same calls, and adds nothing to loss, gradients or statistics
    counts: bool = True

    def __len__(self) -> int:
        return self.last - self.first


def divide(whole: int, *, rank: int, count: int) -> Part:
    """Return the part of a rank: consecutive examples; sizes differ by at most one.

    >>> [len(divide(5, rank=rank, count=2)) for rank in range(2)]
    [2, 3]
    """
    first, last = whole * rank // count, whole * (rank + 1) // count
    if first < last:
        return Part(first=first, last=last, whole=whole)
    return Part(first=whole - 1, last=whole, whole=whole, counts=False)


class Alone:
    """A single process: it leads, and sums and decisions are its own."""

    rank = 0
    count = 1
    leads = True

    def total(self, values: Tensor) -> Tensor:
        """Return the values."""
        return values

    def decide(self, decision: int) -> int:
        """Return the decision."""
        return decision

    def share(self, content: bytes) -> bytes:
        """Return the bytes."""
        return content


class Ranks:
    """The ranks of a run, in torch's default process group, with a store that all ranks reach."""

    def __init__(self, store: Store, device: torch.device) -> None:
        self.rank: int = dist.get_rank()
        self.count: int = dist.get_world_size()
        self._store = store
        # On the host, statistics of layers have a separate group, so that they never mix with buckets of gradients. On a GPU
        # they share one, as in torch's SyncBatchNorm: two NCCL communicators that run at once can block each other.
        self._layers = dist.new_group() if device.type == "cpu" else None
        self._orders = 0

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which decides, writes and reports."""
        return self.rank == 0

    def part(self, whole: int) -> Part:
        """Return this rank's part of a batch of this size."""
        return divide(whole, rank=self.rank, count=self.count)

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over all ranks, the same on each, in a new tensor."""
        summed = values.clone()
        with self._together():
            dist.all_reduce(summed)
        return summed

    def total_in_layer(self, values: Tensor) -> Tensor:
        """Return the sum over all ranks; it can be differentiated any number of times."""
        total: Tensor = _Total.apply(values, self._layers)  # type: ignore[no-untyped-call]
        return total

    def decide(self, decision: int) -> int:
        """Return the leader's decision on every rank; the followers' argument is ignored."""
        decided = torch.tensor([decision])
        with self._together():
            dist.broadcast(decided, src=0)
        return int(decided)

    def share(self, content: bytes) -> bytes:
        """Return the leader's bytes on every rank; the followers' argument is ignored."""
        shared = torch.empty(self.decide(len(content)), dtype=torch.uint8)
        if self.leads and content:
            shared = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        with self._together():
            dist.broadcast(shared, src=0)
        return shared.numpy().tobytes()

    def order(self, what: Mapping[str, object]) -> None:
        """Send the followers their next order as JSON; they wait for it without a time limit."""
        self._store.set(f"order/{self._orders}", json.dumps(what))
        self._orders += 1

    def await_order(self) -> object:
        """Wait, as a follower, for the leader's next order; RankError if another rank failed."""
        key = f"order/{self._orders}"
        with self._together():
            while not self._store.check([key]):
                if self._store.check([_FAILURE]):
                    raise self.failed("stopped")
                time.sleep(POLL_SECONDS)
            order = self._store.get(key)
        self._orders += 1
        try:
            return json.loads(order)
        except (ValueError, RecursionError) as error:
            raise self.failed("an order is no JSON, so it is not from rank 0") from error

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Where the other ranks vanish within the block, raise the reason."""
        try:
            yield
        except RuntimeError as error:
            first, *_ = str(error).splitlines() or [type(error).__name__]  # gloo's stack follows
            raise self.failed(first) from error

    def leave(self) -> None:
        """Leave the group, the leader last, because the store may live in its process."""
        dist.destroy_process_group()
        deadline = time.monotonic() + LEAVE_SECONDS
        with suppress(RuntimeError):
            gone = self._store.add(_GONE, 1)
            while self.leads and gone < self.count and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                gone = self._store.add(_GONE, 0)

    def failed(self, reason: str) -> RankError:
        """Return the error to raise if this rank cannot go on; it names the first that failed."""
        mine = f"rank {self.rank} of {self.count}: {reason}"
        try:
            first = self._store.compare_set(_FAILURE, "", mine).decode()
        except RuntimeError:  # the store went with the leader
            first = mine
        return RankError(
            first,
            hint="all ranks end; the same command goes on from the last checkpoint, also with another number of ranks",
        )


Company = Alone | Ranks  # who trains a model: one process, or several that take each step together


class _Total(torch.autograd.Function):
    """A sum over ranks; its derivative is the same sum, so it can be differentiated again."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup | None) -> Tensor:
        ctx.group = group
        summed = values.clone()
        dist.all_reduce(summed, group=group)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return _Total.apply(gradient.contiguous(), ctx.group), None  # type: ignore[no-untyped-call]
