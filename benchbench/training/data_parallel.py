"""The gradients of a batch that ranks share, by torch's DistributedDataParallel.

What it wraps is the loss of a rank's part of the batch, not the model: a defense calls the model as often and in whatever mode
it likes, and gets the model that it knows. Losses are sums over the batch, so gradients are added up and not averaged, as
DistributedDataParallel would do on its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from benchbench.contract import BatchLoss, KeyedGenerator
from benchbench.errors import TrainingError
from benchbench.kernels.arithmetic import derive
from benchbench.ranks.group import Part, Ranks
from benchbench.training.job import TrainingJob
from benchbench.training.shared_layers import BatchInParts, whole_batch_layers

if TYPE_CHECKING:
    from torch._C._distributed_c10d import GradBucket


class SharedGradients:
    """Leaves the gradients of a whole batch in the parameters, each rank having computed its part.

    Args:
        job: what is trained; its model and its defense can be shared, see `benchbench.training.dividing.sharing_obstacle`.
        ranks: who share it.
    """

    def __init__(self, job: TrainingJob, ranks: Ranks) -> None:
        self.ranks = ranks
        self._model = job.model
        self._batch = BatchInParts(ranks)
        self._part_loss = _PartLoss(job)
        with warnings.catch_warnings():
            # Statistics of batch normalisation are the same on all ranks as they are; newer torch calls the option otherwise.
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
            self._shared = DistributedDataParallel(self._part_loss, broadcast_buffers=False)
        self._shared.register_comm_hook(None, lambda _, bucket: _add_up(bucket))  # torch wants no other annotations

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Run a block in which the model's layers see whole batches."""
        with whole_batch_layers(self._model, self._batch):
            yield

    def add(self, part: Part, images: Tensor, labels: Tensor, generator: KeyedGenerator) -> BatchLoss:
        """Compute the loss of this rank's part and add up the gradients of all ranks; returns the part's loss."""
        self._batch.part = part
        loss: Tensor = self._shared(images, labels, generator, counts=part.counts)
        derive(loss)
        self._check_gradients()
        return cast(BatchLoss, self._part_loss.result)

    def _check_gradients(self) -> None:
        """Looking for such parameters before each step costs a walk through the graph, and torch warns of it on each rank."""
        for name, parameter in self._model.named_parameters():
            if parameter.requires_grad and parameter.grad is None:
                raise TrainingError(
                    f"ranks cannot share this training: parameter {name} has no part in the loss",
                    hint="without torchrun one process trains it",
                )


class _PartLoss(nn.Module):
    """The defense's loss as a module, which is what DistributedDataParallel takes."""

    def __init__(self, job: TrainingJob) -> None:
        super().__init__()
        self.model = job.model
        self.result: BatchLoss | None = None
        self._job = job

    def forward(self, images: Tensor, labels: Tensor, generator: KeyedGenerator, *, counts: bool) -> Tensor:
        for parameter in self.model.parameters():
            parameter.grad = None
        self.result = self._job.loss(images, labels, generator)
        for parameter in self.model.parameters():
            parameter.grad = None  # what the defense may have left there
        return self.result.loss if counts else self.result.loss * 0.0


def _add_up(bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """Add up the gradients of a bucket."""
    future = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return cast("torch.futures.Future[Tensor]", future.then(lambda done: done.value()[0]))
