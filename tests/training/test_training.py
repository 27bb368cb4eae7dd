"""Training in bfloat16 or TF32: passes round, everything else is float32's, and the model says what it was trained in."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pretend_cuda
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
from benchbench.contract import BatchLoss, Defense, Examples, KeyedGenerator, Threat, full_precision
from benchbench.contract.recipe import Recipe
from benchbench.errors import TrainingError
from benchbench.events import Event, TrainingStarted
from benchbench.kernels.arithmetic import Precision
from benchbench.kernels.graphs import recording
from benchbench.stopping import Stopped, StopRequest
from benchbench.training import Checkpoint, TrainedModel, TrainingJob, train

CPU = torch.device("cpu")
RECIPE = Recipe(learning_rate=2e-3, momentum=0.9, batch_size=20, epochs=2, precision="bf16")
DEFENSES = [
    Natural(),
    AdversarialTraining(steps=3),
    RobustSelfTraining(steps=2),
    Trades(steps=3),
    GradientRegularisation(beta=0.5),
    GradientRegularisation(beta=0.5, variant="released"),
    LocalLinearity(steps=2),
    LocalLinearity(steps=2, variant="released"),
]


def network() -> nn.Module:
    """Convolutions, batch normalisation and dropout, from weights that depend on nothing."""
    layers = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Softplus(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 16, 4)
    )
    for number, parameter in enumerate(layers.parameters()):
        parameter.data = KeyedGenerator(number, torch.arange(len(parameter))).normal(*parameter.shape[1:]) / 4
    return layers


def job(defense: object, recipe: Recipe = RECIPE) -> TrainingJob:
    rows = torch.arange(60)
    labels = KeyedGenerator(10, rows).integers(4)
    images = KeyedGenerator(9, rows).uniform(1, 8, 8) / 2
    images[rows, 0, labels] += 0.5  # a row of bright pixels tells the class
    return TrainingJob(
        model=network(),
        defense=defense,  # type: ignore[arg-type]
        examples=Examples(inputs=images.mul_(255).to(torch.uint8), labels=labels),
        rows=rows,
        threat=Threat(epsilon=0.1),
        recipe=recipe,
        seed=3,
        device=CPU,
    )


def in_precision(precision: Precision) -> Recipe:
    return dataclasses.replace(RECIPE, precision=precision)


def state_of(trained: TrainedModel) -> dict[str, Tensor]:
    return trained.model.state_dict()


def same(left: TrainedModel, right: TrainedModel) -> bool:
    return left.history == right.history and all(
        torch.equal(state_of(left)[name], value) for name, value in state_of(right).items()
    )


class Watching:
    """AT that notes what the model's layers and its callers see."""

    def __init__(self) -> None:
        self.logits: set[torch.dtype] = set()
        self.layers: set[torch.dtype] = set()
        self.judged: set[torch.dtype] = set()
        self.gradients: set[torch.dtype] = set()
        self.switches: set[bool] = set()

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        convolution = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
        handle = convolution.register_forward_hook(lambda _module, _inputs, output: self.layers.add(output.dtype))
        result = AdversarialTraining(steps=2).loss(model, images, labels, threat=threat, generator=generator)
        handle.remove()
        self.logits.add(model(images).dtype)
        with torch.no_grad(), full_precision(images.device):
            judged = convolution(images)
            self.judged.add(judged.dtype)
        point = images.clone().requires_grad_(True)
        self.gradients.add(torch.autograd.grad(model(point).sum(), point)[0].dtype)
        self.switches.add(torch.backends.cuda.matmul.allow_tf32)
        return result


@pytest.mark.parametrize(
    ("precision", "layers", "tf32"),
    [("float32", torch.float32, False), ("bf16", torch.bfloat16, False), ("tf32", torch.float32, True)],
)
def test_layers_round_and_a_defense_sees_float32(precision: Precision, layers: torch.dtype, tf32: bool) -> None:
    watching = Watching()
    trained = train(job(watching, in_precision(precision)))
    assert watching.layers == {layers}
    assert watching.logits == watching.judged == watching.gradients == {torch.float32}
    assert watching.switches == {tf32}
    assert not torch.backends.cuda.matmul.allow_tf32  # given back
    assert {value.dtype for value in trained.model.parameters()} == {torch.float32}
    images = torch.zeros(2, 1, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert trained.model(images).dtype == torch.bfloat16  # nothing of the training is left on the model


@pytest.mark.parametrize("defense", DEFENSES, ids=repr)
def test_every_defense_learns_in_bf16_what_it_learns_in_float32_up_to_rounding(defense: Defense) -> None:
    """Moved from the start in nearly the direction in which float32 moves, over as nearly the same length."""
    start = torch.cat([value.detach().flatten() for value in network().parameters()])

    def moved(precision: Precision) -> Tensor:
        recipe = dataclasses.replace(in_precision(precision), learning_rate=1e-4, momentum=0.0, epochs=1)
        trained = train(job(defense, recipe)).model
        return torch.cat([value.detach().flatten() for value in trained.parameters()]) - start

    exact, rounded = moved("float32"), moved("bf16")
    assert not torch.equal(exact, rounded)
    assert float(F.cosine_similarity(exact, rounded, dim=0)) > 0.98
    assert float(rounded.norm() / exact.norm()) == pytest.approx(1.0, abs=0.1)


def test_tf32_trains_the_same_model_where_nothing_multiplies_it() -> None:
    assert same(train(job(Trades(steps=2), in_precision("tf32"))), train(job(Trades(steps=2), in_precision("float32"))))


def test_bf16_learns_the_classes() -> None:
    recipe = dataclasses.replace(RECIPE, learning_rate=5e-4, epochs=12)  # at 2e-3 float32 diverges too, by some seeds
    trained = train(job(Trades(steps=3), recipe))
    assert trained.history[-1].loss < trained.history[0].loss / 2
    assert trained.history[-1].accuracy == pytest.approx(1.0, abs=0.1)


def test_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = train(job(Trades(steps=2)))
    begun = 0

    def in_the_second_epoch(event: Event) -> None:
        nonlocal begun
        begun += isinstance(event, TrainingStarted)

    checkpoint = Checkpoint(tmp_path / "model.safetensors", "id")
    with pytest.raises(Stopped):
        train(job(Trades(steps=2)), checkpoint=checkpoint, stop=After(4), listener=in_the_second_epoch)
    assert same(train(job(Trades(steps=2)), checkpoint=checkpoint, listener=in_the_second_epoch), whole)
    assert begun == 2


class After(StopRequest):
    """Stops a training after some steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def is_due(self) -> bool:
        self.steps -= 1
        if self.steps <= 0:
            self.request("enough")
        return super().is_due()


class Failing(Natural):
    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        result = super().loss(model, images, labels, threat=threat, generator=generator)
        return BatchLoss(loss=result.loss * float("nan"))


@pytest.fixture
def allowed() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    yield
    assert torch.backends.cuda.matmul.allow_tf32 == before
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_training_that_fails_gives_everything_back(precision: Precision) -> None:
    failing = job(Failing(), in_precision(precision))
    with pytest.raises(TrainingError, match="not finite"):
        train(failing)
    assert not failing.model._forward_hooks


class Copying:
    """A defense that asks a copy of the model, as AWP does."""

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        assert copy.deepcopy(model)(images).dtype == torch.float32
        return Natural().loss(model, images, labels, threat=threat, generator=generator)


def test_copies_of_the_model_give_float32_too() -> None:
    train(job(Copying()))


@pytest.mark.parametrize("defense", [Natural(), AdversarialTraining(steps=2), Trades(steps=2)], ids=repr)
def test_recorded_steps_in_bf16_end_with_the_same_weights(defense: Defense) -> None:
    """As CUDA graphs replay them; see test_recorded.py."""
    expected = train(job(defense))
    recorded.clear()
    with recording(trace):
        found = train(job(defense))
    assert recorded
    assert same(found, expected)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["bf16", "tf32"])
@pytest.mark.parametrize("recorded_steps", [False, True], ids=["plainly", "by CUDA graphs"])
def test_cuda_trains_in_rounded_numbers(precision: Precision, recorded_steps: bool) -> None:
    if precision == "tf32" and pretend_cuda.installed():
        pytest.skip("the pretend device has no TF32")

    def trained_in(precision: Precision) -> TrainedModel:
        recipe = dataclasses.replace(in_precision(precision), epochs=12, learning_rate=1e-3)  # at 2e-3 the loss jumps
        given = dataclasses.replace(job(Trades(steps=3), recipe), device=torch.device("cuda"))
        if not recorded_steps:
            return train(given)
        with recording():
            return train(given)

    rounded, exact = trained_in(precision), trained_in("float32")
    assert rounded.history[-1].accuracy == pytest.approx(exact.history[-1].accuracy, abs=0.1)
    assert not torch.equal(state_of(rounded)["0.weight"], state_of(exact)["0.weight"])
