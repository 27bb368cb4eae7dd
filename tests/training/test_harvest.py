"""Averaged and selected weights, against computations by hand; interrupted, they end in the same bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchbench.contract import BatchLoss, Examples, KeyedGenerator, Threat, adversarial_images, derive_seed, frozen
from benchbench.contract.recipe import Augmentation, Recipe, Selection
from benchbench.kernels.inputs import as_model_input
from benchbench.stopping import Stopped, StopRequest
from benchbench.training import Checkpoint, TrainedModel, TrainingJob, train
from benchbench.training.checkpoint import read_checkpoint

State = dict[str, Tensor]
KINDS: dict[str, dict[str, Any]] = {
    "ema": {"weight_averaging": "ema", "ema_decay": 0.7},
    "swa": {"weight_averaging": "swa", "swa_start": 1},
    "best-clean": {"checkpoint_selection": "best-clean", "validation": 40},
    "best-robust": {"checkpoint_selection": "best-robust", "validation": 40},
    "best of ema": {"checkpoint_selection": "best-robust", "validation": 40, "weight_averaging": "ema"},
    "best of swa": {"checkpoint_selection": "best-clean", "validation": 40, "weight_averaging": "swa", "swa_start": 1},
    "cosine": {"schedule": "cosine", "warm_up_epochs": 1},
    "cyclic": {"schedule": "cyclic", "peak": 0.4},
    "smoothed": {"label_smoothing": 0.1},
}


class Noisy:
    """Cross-entropy with noise; after each step it hands out the weights, before the next one."""

    smooths_labels = True

    def __init__(self, say: Callable[[State], None] = lambda _: None) -> None:
        self.say = say

    def loss(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        threat: Threat,
        generator: KeyedGenerator,
    ) -> BatchLoss:
        self.say({name: value.clone() for name, value in model.state_dict().items()})
        noisy = images + 0.2 * generator.normal_like(images)
        return BatchLoss(loss=cross_entropy(model(noisy), labels, reduction="sum"))


def examples(count: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    inputs = torch.randint(0, 200, (count, 1, 6, 6), dtype=torch.uint8, generator=generator)
    for label in range(3):
        inputs[labels == label, :, 2 * label : 2 * label + 2] += 50
    return Examples(inputs=inputs, labels=labels)


def job(defense: Any = None, **recipe: Any) -> TrainingJob:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    settings = {"learning_rate": 3e-3, "momentum": 0.9, "epochs": 4, "batch_size": 32} | recipe
    return TrainingJob(
        model=model,
        defense=defense or Noisy(),
        examples=examples(100, 1),
        rows=torch.arange(100),
        threat=Threat(epsilon=0.05),
        recipe=Recipe(**settings, augmentation=Augmentation(flip=True)),
        seed=0,
        device=torch.device("cpu"),
        validation=examples(40, 2) if "validation" in recipe else None,
        validation_rows=torch.arange(100, 140),
        classes=3,
    )


def recorded(**recipe: Any) -> tuple[TrainedModel, list[State]]:
    """The trained model of a recipe, and the weights before each step and after the last one, of a plain training."""
    seen: list[State] = []
    plain = train(job(Noisy(seen.append), **{k: v for k, v in recipe.items() if k in ("epochs", "learning_rate")}))
    return train(job(**recipe)), [*seen, plain.model.state_dict()]


def equal(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_ema_is_the_average_with_a_decay_that_grows() -> None:
    trained, states = recorded(weight_averaging="ema", ema_decay=0.7)
    assert len(states) == 17
    average = {name: value.double() for name, value in states[0].items()}
    for taken, state in enumerate(states[1:]):
        decay = min(0.7, (1 + taken) / (10 + taken))
        average = {name: decay * value + (1 - decay) * state[name].double() for name, value in average.items()}
    found = trained.model.state_dict()
    for name, value in average.items():
        expected = states[-1][name] if name.endswith("num_batches_tracked") else value.float()
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(found["0.weight"], states[-1]["0.weight"], atol=1e-4)


def test_swa_is_the_mean_over_epochs_with_statistics_of_its_own() -> None:
    trained, states = recorded(weight_averaging="swa", swa_start=1)
    ends = states[8::4]  # after the second, third and fourth epoch
    assert len(ends) == 3
    found = trained.model.state_dict()
    for name in ("0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"):
        torch.testing.assert_close(found[name], torch.stack([one[name] for one in ends]).mean(dim=0))
    one = job()
    flipped = one.examples.inputs  # convolutions see flips of some images
    generator = KeyedGenerator(derive_seed(0, "statistics"), one.rows).child("augmentation")
    mirrored = generator.integers(2).bool()
    images = as_model_input(torch.where(mirrored[:, None, None, None], flipped.flip(3), flipped))
    features = [trained.model[0](part).detach() for part in torch.split(images, 32)]  # type: ignore[index]
    torch.testing.assert_close(found["1.running_mean"], torch.stack([f.mean((0, 2, 3)) for f in features]).mean(0))
    torch.testing.assert_close(found["1.running_var"], torch.stack([f.var((0, 2, 3)) for f in features]).mean(0))
    layer = trained.model[1]  # type: ignore[index]
    assert layer.momentum == 0.1


@pytest.mark.parametrize("selection", ["best-clean", "best-robust"])
def test_selected_weights_are_those_of_the_best_epoch(selection: str) -> None:
    fields = {"validation": 40, "learning_rate": 0.02, "epochs": 6}
    best = train(job(checkpoint_selection=selection, **fields))
    scores = [
        record.validation_accuracy if selection == "best-clean" else record.validation_robust_accuracy
        for record in best.history
    ]
    epoch = scores.index(max(scores)) + 1
    assert 1 <= epoch < 6, scores  # or the test shows nothing
    assert equal(best.model, train(job(**{**fields, "epochs": epoch})).model)


@pytest.mark.parametrize("selection", get_args(Selection))
def test_scores_are_accuracies_of_the_held_out_examples_without_and_under_pgd(selection: str) -> None:
    trained = train(job(checkpoint_selection=selection, validation=40, epochs=1))
    split = job(validation=40).validation
    assert split is not None
    images, labels = as_model_input(split.inputs), split.labels
    right = trained.model(images).argmax(1) == labels
    robust, parts = right.clone(), torch.split(torch.arange(40), 32)
    for part in parts:
        generator = KeyedGenerator(derive_seed(0, "validation"), torch.arange(100, 140)[part])
        with frozen(trained.model):
            candidates = adversarial_images(
                trained.model,
                images[part],
                labels[part],
                threat=Threat(epsilon=0.05),
                generator=generator,
                steps=10,
                step_ratio=0.2,
            )
        robust[part] &= trained.model(candidates).argmax(1) == labels[part]
    (record,) = trained.history
    assert record.validation_accuracy == pytest.approx(float(right.float().mean()))
    assert record.validation_robust_accuracy == pytest.approx(float(robust.float().mean()))
    assert robust.sum() < right.sum()


def test_split_is_not_attacked_where_the_threat_is_no_part_of_the_training() -> None:
    (record,) = train(dataclasses.replace(job(validation=40, epochs=1), scores_robust=False)).history
    assert record.validation_accuracy is not None
    assert record.validation_robust_accuracy is None


def test_scores_need_no_more_memory_than_the_parts_of_a_step() -> None:
    sizes: list[int] = []

    def refuse(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        sizes.append(len(arguments[0]))
        if sizes[-1] > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")

    one = job(validation=40, checkpoint_selection="best-robust", epochs=1)
    one = dataclasses.replace(one, model=nn.Sequential(nn.Flatten(), nn.Linear(36, 3)))
    one.model.register_forward_pre_hook(refuse)
    (record,) = train(one).history
    assert record.validation_robust_accuracy is not None
    assert [size for size in sizes if size > 8] == [32, 16]  # both in the first step


def test_validation_split_changes_no_weight_and_random_state_of_the_training() -> None:
    assert equal(train(job()).model, train(job(validation=40)).model)


def test_swa_selects_no_epoch_before_there_is_an_average() -> None:
    fields = {"validation": 40, "learning_rate": 0.02, "epochs": 6, "weight_averaging": "swa", "swa_start": 5}
    assert equal(train(job(checkpoint_selection="best-clean", **fields)).model, train(job(**fields)).model)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("kind", KINDS)
def test_training_stopped_at_any_step_ends_in_the_same_bits(
    kind: str, optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchbench.training.loop.CHECKPOINT_SECONDS", 0.0)
    fields = {**KINDS[kind], "optimizer": optimizer, "epochs": 3}
    whole = train(job(**fields))
    checkpoint = Checkpoint(tmp_path / "model.safetensors", "id")
    sittings = 0
    while True:
        stop = StopRequest()
        sittings += 1
        try:  # one step in each sitting
            resumed = train(
                job(Noisy(lambda _, stop=stop: stop.request("enough")), **fields), checkpoint=checkpoint, stop=stop
            )
            break
        except Stopped:
            assert sittings < 20
    assert sittings == 12
    assert equal(whole.model, resumed.model)
    assert [dataclasses.astuple(one) for one in whole.history] == [dataclasses.astuple(one) for one in resumed.history]


@pytest.mark.parametrize("kind", KINDS)
def test_finished_checkpoint_holds_the_model_and_no_other_weights(kind: str, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "model.safetensors", "id")
    trained = train(job(**KINDS[kind]), checkpoint=checkpoint)
    stored = read_checkpoint(checkpoint.path)
    assert stored is not None
    assert all(torch.equal(stored.state[name], value) for name, value in trained.model.state_dict().items())
    assert not [name for name in stored.tensors if name.startswith("harvest.")]
    assert equal(train(job(**KINDS[kind]), checkpoint=checkpoint).model, trained.model)


def test_each_kind_changes_the_weights() -> None:
    plain = train(job()).model
    learned = {kind: train(job(**{**fields, "learning_rate": 0.02})).model for kind, fields in KINDS.items()}
    assert [kind for kind, model in learned.items() if equal(model, plain)] == []
