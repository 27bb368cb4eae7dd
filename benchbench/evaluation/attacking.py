"""Running the protocol's attack over a split and judging its candidates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchbench.evaluation.memory import Memory
from benchbench.evaluation.shards import Shard, ShardResult, shard_positions
from benchbench.evaluation.spool import Spool
from benchbench.evaluation.subject import Split, Trial, default_batch_size
from benchbench.evaluation.supervision import counting, propose
from benchbench.kernels.arithmetic import searching


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """What the attack did to one split.

    Attributes:
        prediction: int64 (N,) on the CPU, the class that the harness itself saw predicted for each checked candidate.
        candidates: float32 (N, ...) on the CPU, in a file if they are many; of the training split none are kept, N is 0.
        forward: examples that the attack passed through the model.
        gradient: how many of those with a gradient to the input.
    """

    prediction: Tensor
    candidates: Tensor
    forward: int
    gradient: int


def attack_split(trial: Trial, split: Split, prediction: Tensor, memory: Memory) -> AttackResult:
    """Attack the examples of a split that are correct without perturbation; the others are counterexamples as they are.

    Args:
        trial: model, threat and attack.
        split: the examples.
        prediction: int64 (N,) on the CPU, the class predicted for each clean example.
        memory: keeps each finished shard.

    Raises:
        ContractError: the attack broke its contract, or the model returned logits that are not finite.
    """
    shards = [
        Shard(
            key=f"attack/{split.name}/{int(positions[0]):08d}",
            compute=partial(_attack_shard, trial, split, positions, prediction, memory),
        )
        for positions in shard_positions(split, trial.batch_size)
    ]
    outcomes = []
    with Spool((len(split) if split.name == "test" else 0, *split.examples.inputs.shape[1:])) as kept:
        for positions, part in zip(shard_positions(split, trial.batch_size), memory.gather(shards)):
            kept.add(part["candidates"])
            outcomes.append((part["prediction"], part["queries"]))
            trial.report(trial.attack_name, split, int(positions[-1]) + 1)
        candidates = kept.joined()
    trial.loan.inspect(f"attack {trial.attack_name!r} on {split.name}")
    predictions, counts = zip(*outcomes)
    forward, gradient = torch.stack(counts).sum(dim=0).tolist()
    return AttackResult(
        prediction=torch.cat(predictions), candidates=candidates, forward=int(forward), gradient=int(gradient)
    )


def _attack_shard(trial: Trial, split: Split, positions: Tensor, prediction: Tensor, memory: Memory) -> ShardResult:
    """The attack's outcome on consecutive examples: predictions, queries and, on the test split, candidates."""
    memory.ask_for_attack()  # here, where it is computed: what the model alone decides is shared between attacks
    what = f"attack {trial.attack_name!r} on {split.name}"
    first = int(positions[0])
    correct = prediction.to(positions.device)[positions] == split.labels(positions)
    targets = correct.nonzero()[:, 0]  # positions within the shard
    candidates = split.images(positions)
    with counting(trial.model) as queries:
        for chosen in _in_turn(targets, _examples_per_call(trial)):
            candidates[chosen] = _attack(trial, split, positions[chosen], what)
            trial.report(trial.attack_name, split, first + int(chosen[-1]) + 1)
    trial.loan.inspect_model(what)
    judged = prediction[positions.cpu()]
    for chosen in _in_turn(targets, trial.batch_size):
        images, rows = candidates.index_select(0, chosen), split.rows[positions[chosen]]
        judged[chosen.cpu()] = trial.classify(images, rows, f"the model under {what}")
    kept = candidates.contiguous() if split.name == "test" else candidates[:0].clone()  # a view would keep them all
    return {
        "prediction": judged,
        "queries": torch.tensor([queries.forward, queries.gradient]),
        "candidates": kept.cpu(),
    }


def _attack(trial: Trial, split: Split, positions: Tensor, what: str) -> Tensor:
    with searching(positions.device):
        return propose(
            trial.attack,
            trial.model,
            split.images(positions),
            split.labels(positions),
            threat=trial.threat,
            generator=trial.generator(split, "attack", positions),
            rows=split.rows[positions],
            what=what,
            loan=trial.loan,
        )


def _examples_per_call(trial: Trial) -> int:
    """An attack that works off a queue may say how many examples it likes at once (attribute ``queue_length``).

    It is not asked where batches are smaller than usual, for then the memory does not suffice for more.
    """
    if trial.batch_size < default_batch_size(trial.splits["test"].rows.device):
        return trial.batch_size
    return max(trial.batch_size, int(getattr(trial.attack, "queue_length", 0)))


def _in_turn(positions: Tensor, size: int) -> Iterator[Tensor]:
    for start in range(0, len(positions), size):
        yield positions[start : start + size]
