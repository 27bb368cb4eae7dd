"""The ranks of a run, as one of them sees them: sums over all, what the leader decides, who failed.

All ranks take the same steps in the same order, or they wait for each other forever; rank 0 leads. Decisions and objects go
through gloo on the host, sums of tensors through whatever suits their device (gloo or NCCL).
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from benchbench.errors import RankError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import ProcessGroup

POLL_SECONDS = 0.05  # a follower asks for its next order this often
LEAVE_SECONDS = 3.0
_FAILURE, _GONE = "failure", "gone"


@dataclass(frozen=True, kw_only=True)
class Part:
    """The examples of a batch that fall to one rank.

    Attributes:
        first: position of its first example in the batch.
        last: position after its last one; always above `first`.
        whole: size of the batch.
        counts: whether its examples count. A rank for which the batch has none left borrows the last one, so that every rank
            makes the same calls, and adds nothing to loss, gradients or statistics.
    """

    first: int
    last: int
    whole: int
    counts: bool = True

    def __len__(self) -> int:
        return self.last - self.first


def divide(whole: int, *, rank: int, count: int) -> Part:
    """The part of a rank: consecutive examples, sizes differ by at most one.

    >>> [len(divide(5, rank=rank, count=2)) for rank in range(2)]
    [2, 3]
    """
    first, last = whole * rank // count, whole * (rank + 1) // count
    if first < last:
        return Part(first=first, last=last, whole=whole)
    return Part(first=whole - 1, last=whole, whole=whole, counts=False)


Shared = TypeVar("Shared")


class Company(Protocol):
    """Who trains a model: this process alone, or several that take each step together."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    @property
    def leads(self) -> bool:
        """Whether this process decides, writes and speaks."""
        ...

    def total(self, values: Tensor) -> Tensor:
        """The sum over all of them, the same on each."""
        ...

    def decide(self, decision: int) -> int:
        """What the leader decides."""
        ...

    def share(self, value: Shared) -> Shared:
        """An object of the leader's, copied to all."""
        ...


class Alone:
    """A process on its own: it leads, and what it decides is decided."""

    count = 1
    leads = True

    def total(self, values: Tensor) -> Tensor:
        """The values."""
        return values

    def decide(self, decision: int) -> int:
        """The decision."""
        return decision

    def share(self, value: Shared) -> Shared:
        """The object."""
        return value


class Ranks:
    """The processes of a run, once torch's default process group stands; see `benchbench.ranks.launch.joined`.

    Args:
        store: torch's key-value store, which all of them reach.
        device: of this rank.
    """

    def __init__(self, store: Any, device: torch.device) -> None:
        self.rank: int = dist.get_rank()
        self.count: int = dist.get_world_size()
        self._store = store
        # On the host, a group of their own, so that statistics of layers never meet buckets of gradients. Two communicators of
        # NCCL at work at once can block each other, so there they share one, as torch's own SyncBatchNorm does; all ranks issue
        # the same sums in the same order.
        self._layers = dist.new_group() if device.type == "cpu" else None
        self._orders = 0

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which decides, writes and speaks."""
        return self.rank == 0

    def part(self, whole: int) -> Part:
        """This rank's part of a batch."""
        return divide(whole, rank=self.rank, count=self.count)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all ranks, the same on each; the argument is left alone."""
        summed = values.clone()
        with self._together():
            dist.all_reduce(summed)
        return summed

    def total_in_layer(self, values: Tensor) -> Tensor:
        """The sum over all ranks, differentiable as often as one likes."""
        total: Tensor = _Total.apply(values, self._layers)  # type: ignore[no-untyped-call]
        return total

    def decide(self, decision: int) -> int:
        """What the leader decides, heard by all; the argument of the others is ignored."""
        said = torch.tensor([decision])
        with self._together():
            dist.broadcast(said, src=0)
        return int(said)

    def share(self, value: Shared) -> Shared:
        """An object of the leader's, copied to all; the argument of the others is ignored."""
        shared = [value]
        with self._together():
            dist.broadcast_object_list(shared, src=0, device=torch.device("cpu"))
        return shared[0]

    def order(self, what: object) -> None:
        """As the leader, say what all do next; waiting for an order has no time limit, as waiting for a sum has."""
        self._store.set(f"order/{self._orders}", pickle.dumps(what))
        self._orders += 1

    def await_order(self) -> object:
        """As a follower, wait for what the leader says next. It comes from the leader's own process, hence pickle."""
        key = f"order/{self._orders}"
        with self._together():
            while not self._store.check([key]):
                if self._store.check([_FAILURE]):
                    raise self.failed("stopped")
                time.sleep(POLL_SECONDS)
            order = self._store.get(key)
        self._orders += 1
        return pickle.loads(order)  # noqa: S301

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Where the others went away in the middle of something, say why they did."""
        try:
            yield
        except RuntimeError as error:
            first, *_ = str(error).splitlines() or [type(error).__name__]  # below it, gloo tells its whole stack
            raise self.failed(first) from error

    def leave(self) -> None:
        """End, the leader last: the store may live in its process. Followers that are cut off are not waited for long."""
        dist.destroy_process_group()
        deadline = time.monotonic() + LEAVE_SECONDS
        with suppress(RuntimeError):
            gone = self._store.add(_GONE, 1)
            while self.leads and gone < self.count and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                gone = self._store.add(_GONE, 0)

    def failed(self, reason: str) -> RankError:
        """The error to raise where this rank cannot go on; it names the rank that failed first."""
        mine = f"rank {self.rank} of {self.count}: {reason}"
        try:
            first = self._store.compare_set(_FAILURE, "", mine).decode()
        except RuntimeError:  # the store went with the leader
            first = mine
        return RankError(
            first, hint="all ranks end; the same command goes on from the last checkpoint, also with another number"
        )


class _Total(torch.autograd.Function):
    """A sum over ranks. Its derivative is the same sum, so that it can be differentiated again."""

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
