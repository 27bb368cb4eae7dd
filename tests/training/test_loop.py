from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchbench.contract import BatchLoss, Examples, KeyedGenerator, Threat
from benchbench.contract.recipe import Augmentation, Recipe
from benchbench.errors import ContractError, StorageError, TrainingError
from benchbench.events import Event, TrainingProgress, ignore
from benchbench.kernels.inputs import as_model_input
from benchbench.training.checkpoint import Checkpoint, EpochRecord, Position, weights_digest
from benchbench.training.job import TrainingJob
from benchbench.training.loop import TrainedModel, make_optimizer, train


class Summed:
    """Cross-entropy with noise from the generator, so that resuming must restore every draw."""

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        logits = model(images + 0.1 * generator.normal_like(images))
        return BatchLoss(loss=cross_entropy(logits, labels, reduction="sum"), logits=logits)


class SelfStepping:
    """The same update, taken by the defense itself."""

    def step(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        threat: Threat,
        generator: KeyedGenerator,
        optimizer: Any,
    ) -> BatchLoss:
        result = Summed().loss(model, images, labels, threat=threat, generator=generator)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        return result


def _examples(count: int = 150) -> Examples:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (count,), generator=generator)
    inputs = torch.randint(0, 60, (count, 1, 6, 6), dtype=torch.uint8, generator=generator)
    for label in range(3):
        inputs[labels == label, :, 2 * label : 2 * label + 2] += 150
    return Examples(inputs=inputs, labels=labels)


def _job(defense: Any = None, **recipe: Any) -> TrainingJob:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 3)
        )
    examples = _examples()
    settings = {"learning_rate": 1e-3, "momentum": 0.9, "epochs": 4, "batch_size": 32, "decay_epochs": (2,)} | recipe
    return TrainingJob(
        model=model,
        defense=defense or Summed(),
        examples=examples,
        rows=torch.arange(len(examples)),
        threat=Threat(epsilon=0.1),
        recipe=Recipe(**settings, augmentation=Augmentation(padding=1)),
        seed=0,
        device=torch.device("cpu"),
    )


def _same(left: TrainedModel, right: TrainedModel) -> bool:
    ours, theirs = left.model.state_dict(), right.model.state_dict()
    return left.history == right.history and all(torch.equal(ours[name], theirs[name]) for name in theirs)


class Killed(BaseException):
    pass


def _kill_at(count: int) -> Callable[[Event], None]:
    seen = 0

    def listen(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, TrainingProgress)
        if seen == count:
            raise Killed

    return listen


def test_training_learns_and_leaves_the_model_in_evaluation_mode() -> None:
    trained = train(_job(epochs=12, decay_epochs=()))
    examples = _examples()
    predicted = trained.model(as_model_input(examples.inputs)).argmax(1)
    assert (predicted == examples.labels).float().mean() > 0.95
    assert trained.history[-1].loss < trained.history[0].loss
    assert not trained.model.training


def test_models_see_pixels_over_255_and_features_as_they_are() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(as_model_input(pixels), torch.tensor([0.0, 0.2, 1.0]))
    assert torch.equal(as_model_input(torch.tensor([-3.0, 51.0])), torch.tensor([-3.0, 51.0]))


def test_training_twice_gives_the_same_weights_bit_for_bit() -> None:
    assert _same(train(_job()), train(_job()))


def test_training_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    train(_job(epochs=1))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("kill", [1, 2, 7, 13, 20])
def test_killed_and_resumed_training_ends_in_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, kill: int
) -> None:
    monkeypatch.setattr("benchbench.training.loop.CHECKPOINT_SECONDS", 0.0)  # after every step
    monkeypatch.setattr("benchbench.training.loop.REPORT_SECONDS", 0.0)
    whole = train(_job(optimizer=optimizer))
    path = tmp_path / "model.safetensors"
    with pytest.raises(Killed):
        train(_job(optimizer=optimizer), checkpoint=Checkpoint(path, "id"), listener=_kill_at(kill))
    resumed = train(_job(optimizer=optimizer), checkpoint=Checkpoint(path, "id"))
    assert _same(whole, resumed)


def test_each_epoch_sees_every_example_once_in_an_order_of_its_own() -> None:
    class Watching(Summed):
        def loss(self, model: nn.Module, images: Tensor, labels: Tensor, **given: Any) -> BatchLoss:
            seen.append(given["generator"]._rows.clone())
            return super().loss(model, images, labels, **given)

    orders = []
    for seed in (0, 0, 1):
        seen: list[Tensor] = []
        train(dataclasses.replace(_job(Watching(), epochs=3), seed=seed))
        orders.append(torch.cat(seen).view(3, 150))
    for order in orders:
        assert torch.equal(order.sort(dim=1).values, torch.arange(150).expand(3, 150))
    first, again, other = orders
    assert torch.equal(first, again)
    assert not any(torch.equal(a, b) for a, b in itertools.combinations([*first, *other], 2))


def test_every_epoch_draws_anew_for_each_example() -> None:
    seen: dict[int, list[tuple[Tensor, float]]] = {row: [] for row in range(150)}

    class Watching(Summed):
        def loss(self, model: nn.Module, images: Tensor, labels: Tensor, **given: Any) -> BatchLoss:
            drawn = given["generator"].uniform()
            for row, image, draw in zip(given["generator"]._rows.tolist(), images, drawn.tolist()):
                seen[row].append((image.clone(), draw))
            return super().loss(model, images, labels, **given)

    train(_job(Watching(), epochs=3))
    assert all(len({draw for _, draw in epochs}) == 3 for epochs in seen.values())
    still = [all(torch.equal(image, epochs[0][0]) for image, _ in epochs) for epochs in seen.values()]
    assert sum(still) < 10  # nine places of a crop: one example in 81 has the same one three times


class Constant:
    """Each example costs 2, and the gradient of every weight is the number of examples."""

    def loss(self, model: nn.Module, images: Tensor, labels: Tensor, **_: Any) -> BatchLoss:
        weights = torch.cat([parameter.flatten() for parameter in model.parameters()])
        slope = (weights - weights.detach()).sum()
        return BatchLoss(loss=len(images) * (slope + 2.0), logits=nn.functional.one_hot(0 * labels, 3).float())


def _plain_job(defense: Any, **recipe: Any) -> TrainingJob:
    job = dataclasses.replace(_job(defense), model=nn.Linear(1, 1, bias=False).double())
    return dataclasses.replace(job, recipe=Recipe(learning_rate=1e-3, batch_size=64, **recipe))


def _weight(model: nn.Module) -> float:
    (parameter,) = model.parameters()
    return parameter.item()


def test_history_holds_means_over_the_examples() -> None:
    told: list[Event] = []
    trained = train(_job(Constant(), epochs=2), listener=told.append)
    first = float((_examples().labels == 0).double().mean())
    assert [record.loss for record in trained.history] == pytest.approx([2.0, 2.0])
    assert [record.accuracy for record in trained.history] == [first, first]
    assert [record.epoch for record in trained.history] == [1, 2]
    assert all(event.loss == pytest.approx(2.0) for event in told if isinstance(event, TrainingProgress))


def test_sgd_steps_are_those_of_the_recipe() -> None:
    job = _plain_job(Constant(), epochs=2, momentum=0.9, weight_decay=0.5, decay_epochs=(1,))
    weight, velocity = _weight(job.model), 0.0
    for rate in (1e-3, 1e-4):
        for gradient in (64, 64, 22):  # of 150 examples
            velocity = 0.9 * velocity + gradient + 0.5 * weight
            weight -= rate * velocity
    assert _weight(train(job).model) == pytest.approx(weight, rel=1e-9)


def test_adam_steps_are_those_of_the_recipe() -> None:
    job = _plain_job(Constant(), epochs=2, optimizer="adam", weight_decay=30.0, decay_epochs=(1,))
    weight = _weight(job.model)
    mean = square = 0.0
    for step, (rate, gradient) in enumerate(itertools.product((1e-3, 1e-4), (64, 64, 22)), start=1):
        slope = gradient + 30.0 * weight
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        weight -= rate * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)) ** 0.5 + 1e-8)
    assert _weight(train(job).model) == pytest.approx(weight, rel=1e-9)


def test_seconds_add_up_over_sittings(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "model.safetensors", "id")
    job = _job(epochs=1)
    train(job, checkpoint=checkpoint)
    optimizer = make_optimizer(job.model, job.recipe)
    position = checkpoint.load(job.model, optimizer)
    assert position is not None
    checkpoint.save(job.model, optimizer, dataclasses.replace(position, seconds=1000.0))
    assert 1000.0 < train(_job(epochs=2), checkpoint=checkpoint).seconds < 1100.0


def test_a_defense_with_its_own_step_trains_like_the_loop() -> None:
    assert _same(train(_job()), train(_job(SelfStepping())))


def test_finished_training_is_loaded_not_repeated(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "model.safetensors", "id")
    first = train(_job(), checkpoint=checkpoint)
    events: list[Event] = []
    second = train(_job(), checkpoint=checkpoint, listener=events.append)
    assert not [event for event in events if isinstance(event, TrainingProgress)]
    assert _same(first, second)


@pytest.mark.parametrize("damage", ["truncate", "flip", "foreign"])
def test_a_damaged_checkpoint_is_set_aside_and_training_starts_over(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "model.safetensors"
    train(_job(epochs=1), checkpoint=Checkpoint(path, "id"))
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-5] ^= 1
    path.write_bytes({"truncate": content[:-7], "flip": content, "foreign": b"hello"}[damage])
    trained = train(_job(epochs=1), checkpoint=Checkpoint(path, "id"))
    assert _same(trained, train(_job(epochs=1)))
    assert (tmp_path / "model.safetensors.corrupt").exists()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    train(_job(epochs=1), checkpoint=Checkpoint(path, "one"))
    with pytest.raises(StorageError, match="'one', expected 'two'"):
        train(_job(epochs=1), checkpoint=Checkpoint(path, "two"))


def test_digest_of_weights_depends_on_names_types_and_shapes_and_not_on_the_layout() -> None:
    weights = torch.arange(24.0).view(1, 2, 3, 4)
    states = [
        {"a": weights},
        {"b": weights},
        {"a": weights.view(1, 2, 4, 3)},
        {"a": weights.view(torch.int32)},
        {"a": weights, "b": weights},
        {"a": weights + 1},
    ]
    assert len({weights_digest(state) for state in states}) == len(states)
    laid_out = {"a": weights.contiguous(memory_format=torch.channels_last), "no tensor": 3}
    assert weights_digest(laid_out) == weights_digest(states[0])


def test_diverging_training_is_an_error() -> None:
    with pytest.raises(TrainingError, match="not finite in epoch"):
        train(_job(learning_rate=1e30))


@pytest.mark.parametrize(
    ("answer", "described"),
    [
        (BatchLoss(loss=torch.ones(3, requires_grad=True)), r"Unreduced returned a loss of shape \(3,\)"),
        (BatchLoss(loss=cast(Any, 3.0)), "returned a loss of type float"),
        (torch.ones(3), "returned an object of type Tensor"),
    ],
)
def test_a_loss_that_is_no_scalar_is_refused(answer: Any, described: str) -> None:
    class Unreduced(Summed):
        def loss(self, *arguments: Any, **named: Any) -> BatchLoss:
            return cast(BatchLoss, answer)

    with pytest.raises(ContractError, match="scalar loss, summed over the batch"):
        train(_job(Unreduced()), listener=ignore)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_optimisers_are_fused_on_cuda_alone(optimizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(nn.Module):
        def __init__(self, *, cuda: bool) -> None:
            super().__init__()
            self.cuda_there = cuda

        def parameters(self, recurse: bool = True) -> Any:
            return iter([SimpleNamespace(is_cuda=self.cuda_there), SimpleNamespace(is_cuda=self.cuda_there)])

    asked: list[object] = []
    monkeypatch.setattr("benchbench.training.loop.uncompiled", lambda _: lambda *_, fused, **__: asked.append(fused))
    for cuda in (False, True):
        make_optimizer(Elsewhere(cuda=cuda), Recipe(optimizer=optimizer, learning_rate=0.1, epochs=1))
    assert asked == [None, True]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_fused_step_is_the_plain_one(optimizer: Any) -> None:
    recipe = Recipe(optimizer=optimizer, learning_rate=0.1, epochs=1)
    plain, fused = nn.Linear(3, 2), nn.Linear(3, 2).cuda()
    fused.load_state_dict(plain.state_dict())
    for model in (plain, fused):
        chosen = make_optimizer(model, recipe)
        for _ in range(3):
            chosen.zero_grad()
            model(torch.ones(1, 3, device=next(model.parameters()).device)).square().sum().backward()
            chosen.step()
    for left, right in zip(plain.parameters(), fused.parameters()):
        torch.testing.assert_close(left, right.cpu())


@pytest.mark.parametrize("beyond", [{"epochs": 3}, {"step": 10_000}])
def test_checkpoint_that_says_more_than_the_training_has_is_refused(tmp_path: Path, beyond: dict[str, int]) -> None:
    job, checkpoint = _job(epochs=1), Checkpoint(tmp_path / "m.safetensors", "id")
    history = tuple(
        EpochRecord(epoch=n + 1, learning_rate=0.1, loss=1.0, accuracy=0.5) for n in range(beyond.get("epochs", 0))
    )
    position = Position(epoch=len(history), step=beyond.get("step", 0), history=history)
    checkpoint.save(job.model, make_optimizer(job.model, job.recipe), position)
    with pytest.raises(StorageError, match="beyond this training"):
        train(job, checkpoint=checkpoint)
