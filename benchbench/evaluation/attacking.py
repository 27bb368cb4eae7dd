"""Running the protocol's attack over a split and judging its candidates."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchbench.builtin.attacks.margins import batches
from benchbench.evaluation.memory import Memory, ShardResult
from benchbench.evaluation.subject import Split, Trial, default_batch_size
from benchbench.evaluation.supervision import QueryCount, counting, propose
from benchbench.kernels.arithmetic import searching

LARGEST_IN_MEMORY = 4 * 2**20  # bytes; less is not worth a file


class Spool:
    """A float32 tensor of a shape (N, ...) that is written front to back, part by part.

    More than `in_memory` bytes are kept in a temporary file without a name, which the system deletes with the tensor (also if
    the process is killed); its pages enter memory only when they are read. If the disk is full, the tensor stays in memory. As
    a context manager it closes the file; the joined tensor stays valid.
    """

    def __init__(self, shape: Sequence[int], *, in_memory: int = LARGEST_IN_MEMORY) -> None:
        self._shape = tuple(shape)
        self._parts: list[Tensor] = []
        self._file = None
        with suppress(OSError):  # no space left, not even for an empty file
            self._file = tempfile.TemporaryFile() if 4 * math.prod(shape) > in_memory else None  # noqa: SIM115 - until joined

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, part: Tensor) -> None:
        """Append the next rows: float32 (n, ...) on the CPU."""
        if self._file is None:
            self._parts.append(part)
            return
        begun = self._file.tell()
        try:
            self._file.write(part.contiguous().numpy().data)
            self._file.flush()
        except OSError:  # no space left
            self._parts = [*self._read(begun), part]
            self._file = None

    def joined(self) -> Tensor:
        """The whole tensor, after all rows were added; writing to it leaves the file unchanged.

        If rows are missing, or too many, this is a ValueError.
        """
        if self._file is None:
            return torch.cat(self._parts).reshape(self._shape)
        if self._file.tell() != 4 * math.prod(self._shape):
            raise ValueError(f"{self._file.tell()} bytes were added for a float32 tensor of shape {self._shape}")
        # Copy on write: the mapping outlives the file's name and its closing.
        return torch.from_numpy(np.memmap(self._file, dtype=np.float32, mode="c", shape=self._shape))

    def _read(self, size: int) -> list[Tensor]:
        if self._file is None:
            return []
        with self._file as file:
            file.seek(0)
            rows = np.frombuffer(bytearray(file.read(size)), dtype=np.float32).copy()
        return [torch.from_numpy(rows.reshape(-1, *self._shape[1:]))]


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """What the attack did to one split."""

    prediction: Tensor  # int64 (N,) on the CPU, the class that the harness saw predicted for each checked candidate
    candidates: Tensor  # float32 (N, ...) on the CPU, in a file if they are many; N is 0 for the training split
    queries: QueryCount  # examples that the attack passed through the model


def attack_shard(trial: Trial, split: Split, prediction: Tensor, memory: Memory, positions: Tensor) -> ShardResult:
    """Attack the right ones of consecutive examples; the others are counterexamples already.

    `prediction`, int64 (N,) on the CPU, is the class predicted for each clean example of the split. Returns predictions, query
    counts and, on the test split, candidates. An attack that breaks its contract, or a model with logits that are not finite,
    is a ContractError.
    """
    memory.mark_attacked()  # not in `ModelEvidence.attacked`: clean predictions depend on the model alone and are shared
    what = f"attack {trial.attack_name!r} on {split.name}"
    first = int(positions[0])
    labels, rows = split.labels(positions), split.rows[positions]
    targets = (prediction.to(positions.device)[positions] == labels).nonzero()[:, 0]  # positions within the shard
    candidates = split.images(positions)
    with counting(trial.model) as queries, searching(positions.device):
        for chosen in batches(targets, _examples_per_call(trial)):
            candidates[chosen] = propose(
                trial.attack,
                trial.model,
                split.images(positions[chosen]),
                labels[chosen],
                threat=trial.threat,
                generator=trial.generator(split, "attack", positions[chosen]),
                rows=rows[chosen],
                what=what,
                loan=trial.loan,
                starts=_starts(trial, split, prediction, positions[chosen]),
            )
            trial.report(trial.attack_name, split, first + int(chosen[-1]) + 1)
    trial.loan.inspect_model(what)
    judged = prediction[positions.cpu()]
    for chosen in batches(targets, trial.batch_size):
        judged[chosen.cpu()] = trial.classify(
            candidates.index_select(0, chosen), rows[chosen], f"the model under {what}"
        )
    kept = candidates.contiguous() if split.name == "test" else candidates[:0].clone()  # a view would keep all memory
    return {
        "prediction": judged,
        "queries": torch.tensor([queries.forward, queries.gradient]),
        "candidates": kept.cpu(),
    }


def _starts(trial: Trial, split: Split, prediction: Tensor, positions: Tensor) -> Tensor | None:
    """Draw images predicted as another class than the labels, for an attack that takes them.

    The draw is keyed by the example. An example for which there is none gets its image.
    """
    if not getattr(trial.attack, "takes_starts", False):
        return None
    draws = trial.generator(split, "start", positions).uniform().cpu()
    labels, chosen = split.labels(positions).cpu(), positions.cpu().clone()
    for label in range(trial.classes):
        others, own = (prediction != label).nonzero()[:, 0], labels == label
        if len(others):
            chosen[own] = others[(draws[own] * len(others)).long()]
    return split.images(chosen.to(positions.device))


def _examples_per_call(trial: Trial) -> int:
    """The batch size, or a larger ``queue_length`` of an attack that works off a queue.

    Where batches are smaller than the default, memory is short and the attribute is ignored.
    """
    if trial.batch_size < default_batch_size(trial.splits["test"].rows.device):
        return trial.batch_size
    return max(trial.batch_size, int(getattr(trial.attack, "queue_length", 0)))
