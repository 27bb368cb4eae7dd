"""Training by recorded steps against training by steps that are simply taken: the same weights, bit by bit.

On a CPU a trace of the kernels stands in for a CUDA graph: like one, it replays what was done to which tensors, and no Python.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from kernel_traces import recorded, trace
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.builtin.defenses.adversarial import AdversarialTraining, RobustSelfTraining
from benchbench.builtin.defenses.gradient_regularisation import GradientRegularisation
from benchbench.builtin.defenses.local_linearity import LocalLinearity
from benchbench.builtin.defenses.natural import Natural
from benchbench.builtin.defenses.trades import Trades
from benchbench.contract import BatchLoss, Defense, Examples, KeyedGenerator, Threat
from benchbench.contract.recipe import Augmentation, Recipe
from benchbench.errors import ContractError
from benchbench.events import Event, Note
from benchbench.kernels.graphs import Step, recording
from benchbench.kernels.optimizers import uncompiled
from benchbench.training import TrainedModel, TrainingJob, train
from benchbench.training.loop import make_optimizer
from benchbench.training.recorded import is_recordable

EXAMPLES, BATCH = 54, 16  # the last batch of an epoch is smaller
RECIPE = Recipe(
    learning_rate=2e-3,
    momentum=0.9,
    batch_size=BATCH,
    epochs=2,
    decay_epochs=(1,),
    augmentation=Augmentation(padding=1, flip=True),
)
DEFENSES = [
    Natural(),
    AdversarialTraining(steps=2),
    RobustSelfTraining(steps=1),
    Trades(steps=2),
    GradientRegularisation(),
    LocalLinearity(),
    LocalLinearity(variant="released"),
]


def network() -> nn.Module:
    """Convolutions, batch normalisation and dropout, from weights that depend on nothing."""
    layers = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(8 * 36, 4)
    )
    for number, parameter in enumerate(layers.parameters()):
        parameter.data = KeyedGenerator(number, torch.arange(len(parameter))).normal(*parameter.shape[1:]) / 4
    return layers


def job(defense: Defense, recipe: Recipe = RECIPE, device: str = "cpu") -> TrainingJob:
    rows = torch.arange(EXAMPLES)
    images = KeyedGenerator(9, rows).uniform(1, 8, 8).mul_(255).to(torch.uint8)
    return TrainingJob(
        model=network(),
        defense=defense,
        examples=Examples(inputs=images, labels=KeyedGenerator(10, rows).integers(4)),
        rows=rows,
        threat=Threat(epsilon=0.1),
        recipe=recipe,
        seed=3,
        device=torch.device(device),
    )


def state_of(trained: TrainedModel) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in trained.model.state_dict().items()}


@pytest.mark.parametrize("defense", DEFENSES, ids=lambda defense: type(defense).__name__)
@pytest.mark.sampled(2)
def test_recorded_training_ends_with_the_same_weights_and_history(defense: Defense) -> None:
    expected = train(job(defense))
    recorded.clear()
    with recording(trace):
        found = train(job(defense))
    assert len(recorded) == 2  # once, and again when the learning rate falls
    assert found.history == expected.history
    left, right = state_of(found), state_of(expected)
    assert all(torch.equal(left[name], right[name]) for name in right)
    assert not torch.equal(right["0.weight"], network().state_dict()["0.weight"])


def test_fused_adam_is_recorded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CUDA device, where the optimiser's step is one kernel that counts its steps itself."""
    adam = uncompiled(torch.optim.Adam)
    fused = {"fused": True}
    monkeypatch.setattr(
        "benchbench.training.loop.uncompiled", lambda _: lambda *given, **options: adam(*given, **(options | fused))
    )
    recipe = dataclasses.replace(RECIPE, optimizer="adam", momentum=0.0)
    expected = train(job(Natural(), recipe))
    recorded.clear()
    with recording(trace):
        found = train(job(Natural(), recipe))
    assert recorded
    left, right = state_of(found), state_of(expected)
    assert all(torch.equal(left[name], right[name]) for name in right)


class ByPython:
    """A loss that Python has a part in: not to be recorded."""

    def __init__(self) -> None:
        self.calls = 0

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        self.calls += 1
        return BatchLoss(loss=F.cross_entropy(model(images), labels, reduction="sum") * self.calls**-0.5)


class Capricious(Natural):
    """Says that it can be recorded, and draws once more for later batches."""

    calls = 0

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        type(self).calls += 1
        noise = generator.child("later", self.calls).uniform(1, 1, 1)
        return super().loss(model, images + noise, labels, threat=threat, generator=generator)


def test_what_python_has_a_part_in_is_not_recorded() -> None:
    expected = state_of(train(job(ByPython())))
    recorded.clear()
    with recording(trace):
        found = state_of(train(job(ByPython())))
    assert not recorded
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    adam = dataclasses.replace(RECIPE, optimizer="adam", momentum=0.0)
    assert is_recordable(job(Natural()), make_optimizer(network(), RECIPE))
    assert not is_recordable(job(Natural()), make_optimizer(network(), adam))  # unfused, it counts its steps in Python


def test_a_defense_that_draws_something_else_than_for_the_first_batch_is_found_out() -> None:
    with recording(trace), pytest.raises(ContractError, match="Capricious says that its steps can be recorded, and"):
        train(job(Capricious()))


def test_nothing_is_recorded_unless_asked_for() -> None:
    recorded.clear()
    train(job(Natural()))
    with recording():  # CUDA graphs, and no such device
        train(job(Natural()))
    assert not recorded


def test_recording_that_runs_out_of_memory_goes_on_plainly_in_parts_that_fit() -> None:
    def short(step: Step) -> Step:
        raise torch.OutOfMemoryError("too much")

    plain = dataclasses.replace(job(Natural()), model=nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    torch.manual_seed(0)
    state = {name: value.clone() for name, value in plain.model.state_dict().items()}
    expected = state_of(train(plain))
    plain.model.load_state_dict(state)
    heard: list[Event] = []
    with recording(short):
        found = state_of(train(plain, listener=heard.append))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert [event.message for event in heard if isinstance(event, Note)] == [
        "  out of memory: steps are no longer recorded"
    ]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("defense", DEFENSES, ids=lambda defense: type(defense).__name__)
@pytest.mark.sampled(3)
def test_cuda_graphs_train_the_same_model(defense: Defense, optimizer: str) -> None:
    recipe = dataclasses.replace(RECIPE, optimizer=optimizer, momentum=0.9 if optimizer == "sgd" else 0.0)  # type: ignore[arg-type]
    expected = state_of(train(job(defense, recipe, "cuda")))
    with recording():
        found = state_of(train(job(defense, recipe, "cuda")))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
