"""Check that checkpoint and progress decide what a defense does, and nothing else."""

from __future__ import annotations

import copy
import dataclasses
import itertools

import torch
from torch import Tensor, nn

from benchbench.contract import Examples, KeyedGenerator, Progress, StatefulDefense, SteppingDefense, Threat
from benchbench.contract.training import LoopDefense, announce
from benchbench.testing.conformance import expect, keyed, name_of
from benchbench.testing.toys import smooth_toy

_SIZES = (7, 7, 3, 7)  # a smaller batch among them, as at the end of an epoch
_INTERRUPTED = 2
_TOY_EPOCHS, _TOY_BATCH, _LEARNING_RATE = 40, 16, 0.003
_EPOCHS = 3
FIRST_STEP = Progress(epoch=0, step=0, epochs=_EPOCHS, steps=len(_SIZES))


def update(
    defense: LoopDefense,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat: Threat,
    generator: KeyedGenerator,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Train on one batch, as the host does."""
    if isinstance(defense, SteppingDefense):
        defense.step(model, images, labels, threat=threat, generator=generator, optimizer=optimizer)
        return
    outcome = defense.loss(model, images, labels, threat=threat, generator=generator)
    optimizer.zero_grad(set_to_none=True)
    outcome.loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def learn(defense: LoopDefense, model: nn.Module, examples: Examples, *, threat: Threat, purpose: str = "") -> None:
    """Train a model on the toy problem."""
    optimizer = torch.optim.SGD(model.parameters(), lr=_LEARNING_RATE)
    batches = torch.split(torch.arange(len(examples)), _TOY_BATCH)
    for epoch, (step, rows) in itertools.product(range(_TOY_EPOCHS), enumerate(batches)):
        announce(defense, Progress(epoch=epoch, step=step, epochs=_TOY_EPOCHS, steps=len(batches)))
        update(
            defense,
            model,
            examples.inputs[rows],
            examples.labels[rows],
            threat=threat,
            generator=keyed(f"{purpose}epoch {epoch} step {step}", len(rows)),
            optimizer=optimizer,
        )


def check_resumption(defense: LoopDefense, threat: Threat) -> None:
    """Compare training on a few batches with a run restored from its ``state_dict`` alone.

    The defense is a `StatefulDefense` before its first batch.
    """
    name = name_of(defense)
    fresh = copy.deepcopy(defense)
    beginning = kept_state(defense)
    whole = smooth_toy((3, 8, 8), 2).train()
    _train(defense, whole, threat, range(len(_SIZES)))
    restore(defense, beginning)
    interrupted = smooth_toy((3, 8, 8), 2).train()
    _train(defense, interrupted, threat, range(_INTERRUPTED))
    restore(fresh, kept_state(defense))  # state outside the state_dict is lost here
    _train(fresh, interrupted, threat, range(_INTERRUPTED, len(_SIZES)))
    same = all(torch.equal(one, other) for one, other in zip(whole.parameters(), interrupted.parameters()))
    expect(
        same,
        f"{name}: resumption",
        expected="the same weights after an interruption: all that is carried between batches is in state_dict()",
        got="other weights",
    )


def check_schedule(defense: LoopDefense, threat: Threat) -> None:
    """Compare the first step with the first step after the last one was announced.

    The defense depends on the progress of training, and must keep its state.
    """
    weights, beginning = [], kept_state(defense)
    for earlier in (FIRST_STEP, dataclasses.replace(FIRST_STEP, epoch=_EPOCHS - 1, step=len(_SIZES) - 1)):
        announce(defense, earlier)
        model = smooth_toy((3, 8, 8), 2).train()
        _train(defense, model, threat, range(1))
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
        restore(defense, beginning)
    expect(
        torch.equal(*weights),
        f"{name_of(defense)}: schedule",
        expected="the same first step after any earlier progress: the last call alone counts",
        got="other weights",
    )


def kept_state(defense: object) -> dict[str, Tensor]:
    """Copy a stateful defense's state, which must be tensors, like a checkpoint; else empty."""
    if not isinstance(defense, StatefulDefense):
        return {}
    state = defense.state_dict()
    loose = [key for key, value in state.items() if not isinstance(value, Tensor)]
    expect(not loose, f"{name_of(defense)}: state_dict", expected="tensors only", got=f"something else under {loose}")
    return {key: value.detach().clone() for key, value in state.items()}


def restore(defense: object, state: dict[str, Tensor]) -> None:
    """Load a state into a stateful defense; do nothing to any other."""
    if isinstance(defense, StatefulDefense):
        defense.load_state_dict(state)


def _train(defense: LoopDefense, model: nn.Module, threat: Threat, steps: range) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in steps:
        size = _SIZES[step]
        announce(defense, dataclasses.replace(FIRST_STEP, step=step))
        images = keyed(f"resumption {step}", size).uniform(3, 8, 8)
        labels = keyed(f"resumption labels {step}", size).integers(2)
        generator = keyed(f"resumption draws {step}", size)
        update(defense, model, images, labels, threat=threat, generator=generator, optimizer=optimizer)
