"""The gradients of a batch that ranks share, computed by torch's DistributedDataParallel.

It wraps the loss of a rank's part of the batch, not the model, because a defense calls the model any number of times, in any
mode, and must receive the model itself. Losses are sums over the batch, so gradients are added up, not averaged as
DistributedDataParallel does by default.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
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
    """The gradients of whole batches, computed in parts; needs a job without `sharing_obstacle`."""

    def __init__(self, job: TrainingJob, ranks: Ranks) -> None:
        self.ranks = ranks
        self._model = job.model
        self._batch = BatchInParts(ranks=ranks, part=ranks.part(ranks.count))
        self._part_loss = _PartLoss(job)
        with warnings.catch_warnings():
            # All ranks compute equal statistics of batch normalisation; newer versions of torch rename the option.
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
            self._shared = DistributedDataParallel(self._part_loss, broadcast_buffers=False)
        self._shared.register_comm_hook(None, lambda _, bucket: _add_up(bucket))  # torch refuses other annotations

    def ready(self) -> AbstractContextManager[None]:
        """Within the block, the model's layers see whole batches."""
        return whole_batch_layers(self._model, self._batch)

    def share(self, part: Part) -> None:
        """Make the model's layers see a whole batch, of which this rank passes a part."""
        self._batch.part = part

    def add(self, part: Part, images: Tensor, labels: Tensor, generator: KeyedGenerator) -> BatchLoss:
        """Return the loss of this rank's part, with the gradients of all ranks added up."""
        self.share(part)
        loss: Tensor = self._shared(images, labels, generator, counts=part.counts)
        derive(loss)
        # torch's own search for unused parameters walks through the graph before each step, and warns on each rank.
        for name, parameter in self._model.named_parameters():
            if parameter.requires_grad and parameter.grad is None:
                raise TrainingError(
                    f"ranks cannot share this training: parameter {name} has no part in the loss",
                    hint="without torchrun one process trains it",
                )
        return cast(BatchLoss, self._part_loss.result)


class _PartLoss(nn.Module):
    """The defense's loss as a module, which DistributedDataParallel requires."""

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
            parameter.grad = None  # the defense may have left a gradient
        return self.result.loss if counts else self.result.loss * 0.0


def _add_up(bucket: GradBucket) -> torch.futures.Future[Tensor]:
    future = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return cast("torch.futures.Future[Tensor]", future.then(lambda done: done.value()[0]))
