"""Checkpoints take tensors in any layout; what a defense carries from batch to batch survives an interruption."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchbench.contract import BatchLoss, Examples, KeyedGenerator, PacedDefense, Progress, ScheduledDefense, Threat
from benchbench.contract.recipe import Recipe
from benchbench.events import Event, TrainingProgress
from benchbench.stopping import Stopped, StopRequest
from benchbench.training import Checkpoint, TrainingJob, train
from benchbench.training.checkpoint import Position, pack, write_checkpoint


def test_a_transposed_parameter_is_stored(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    model.weight.data = torch.arange(6.0).view(3, 2).T
    tensors = pack(model, torch.optim.SGD(model.parameters()))
    write_checkpoint(tmp_path / "one.safetensors", "id", tensors, Position())
    stored = load_file(tmp_path / "one.safetensors")
    assert torch.equal(next(one for one in stored.values() if one.shape == (2, 3)), model.weight)


class Carrying:
    """Adds what it has seen so far to the images: each step depends on all before it."""

    def __init__(self) -> None:
        self.carried: Tensor | None = None

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        shift = images.mean(dim=0) if self.carried is None else 0.9 * self.carried + 0.1 * images.mean(dim=0)
        self.carried = shift.detach()
        return BatchLoss(loss=cross_entropy(model(images + shift), labels, reduction="sum"))

    def state_dict(self) -> Mapping[str, Tensor]:
        return {} if self.carried is None else {"carried": self.carried}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.carried = state.get("carried")


class Killed(BaseException):
    pass


def job(defense: Any) -> TrainingJob:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    rows = torch.arange(70)
    inputs = KeyedGenerator(5, rows).uniform(1, 4, 4)
    return TrainingJob(
        model=model,
        defense=defense,
        examples=Examples(inputs=inputs, labels=rows % 3),
        rows=rows,
        threat=Threat(epsilon=0.1),
        recipe=Recipe(learning_rate=0.01, epochs=3, batch_size=32),
        seed=0,
        device=torch.device("cpu"),
    )


def weights(defense: Any, checkpoint: Checkpoint | None = None) -> list[Tensor]:
    return list(train(job(defense), checkpoint=checkpoint).model.state_dict().values())


@pytest.mark.parametrize("kill", [1, 2, 4, 7])
def test_killed_and_resumed_training_ends_in_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill: int
) -> None:
    monkeypatch.setattr("benchbench.training.loop.CHECKPOINT_SECONDS", 0.0)  # after every step
    monkeypatch.setattr("benchbench.training.loop.REPORT_SECONDS", 0.0)
    seen: list[Event] = []

    def listen(event: Event) -> None:
        seen.append(event)
        if sum(isinstance(one, TrainingProgress) for one in seen) == kill:
            raise Killed

    checkpoint = Checkpoint(tmp_path / "model.safetensors", "id")
    with pytest.raises(Killed):
        train(job(Carrying()), checkpoint=checkpoint, listener=listen)
    resumed = weights(Carrying(), checkpoint)
    assert all(torch.equal(one, other) for one, other in zip(weights(Carrying()), resumed))


def test_what_is_carried_matters() -> None:
    class Forgetful(Carrying):
        def loss(self, *arguments: Any, **named: Any) -> BatchLoss:
            self.carried = None
            return super().loss(*arguments, **named)

    assert not all(torch.equal(one, other) for one, other in zip(weights(Carrying()), weights(Forgetful())))


def test_checkpoint_from_before_the_first_batch_restores_nothing_carried(tmp_path: Path) -> None:
    checkpoint, fresh = Checkpoint(tmp_path / "model.safetensors", "id"), Carrying()
    one = job(fresh)
    optimizer = torch.optim.SGD(one.model.parameters(), lr=0.1)
    from benchbench.training.checkpoint import Position

    checkpoint.save(one.model, optimizer, Position(), defense=fresh)
    fresh.carried = torch.ones(1)
    checkpoint.load(one.model, optimizer, defense=fresh)
    assert fresh.carried is None


class Scheduled:
    """Notes the epoch that it is told before each batch."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def at_epoch(self, epoch: int) -> None:
        self.told.append(epoch)

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        return BatchLoss(loss=cross_entropy(model(images), labels, reduction="sum"))


def test_defense_that_asks_is_told_the_epoch_before_each_batch() -> None:
    defense = Scheduled()
    assert isinstance(defense, ScheduledDefense)
    train(job(defense))
    assert defense.told == [0, 0, 0, 1, 1, 1, 2, 2, 2]


class Paced(Scheduled):
    """Notes its progress, too, and adds noise that grows with it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []

    def at_step(self, progress: Progress) -> None:
        self.seen.append((progress.taken, progress.total))

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        taken, total = self.seen[-1]
        noisy = images + taken / total * generator.normal_like(images)
        return super().loss(model, noisy, labels, threat=threat, generator=generator)


def test_defense_that_asks_receives_its_progress_before_each_step() -> None:
    defense = Paced()
    assert isinstance(defense, PacedDefense)
    train(job(defense))
    assert defense.seen == [(step, 9) for step in range(9)]
    assert defense.told == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("kill", [1, 4, 7])
def test_progress_goes_on_where_a_killed_training_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill: int
) -> None:
    monkeypatch.setattr("benchbench.training.loop.CHECKPOINT_SECONDS", 0.0)
    stop, seen = StopRequest(), Paced()
    checkpoint = Checkpoint(tmp_path / "model.safetensors", "id")

    class Stopping(Paced):
        def at_step(self, progress: Progress) -> None:
            super().at_step(progress)
            if progress.taken == kill:
                stop.request("enough")

    with pytest.raises(Stopped):
        train(job(Stopping()), checkpoint=checkpoint, stop=stop)
    resumed = train(job(seen), checkpoint=checkpoint)
    whole = train(job(Paced()))
    assert seen.seen == [(step, 9) for step in range(kill + 1, 9)]
    assert all(torch.equal(a, b) for a, b in zip(resumed.model.parameters(), whole.model.parameters()))
