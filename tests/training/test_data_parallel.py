"""Ranks that train together learn what one process learns, whatever the batch size, and go on where one process stopped."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_processes import Ranks, in_ranks
from torch import Tensor, nn

from benchbench.builtin.defenses.adversarial import AdversarialTraining
from benchbench.builtin.defenses.local_linearity import LocalLinearity
from benchbench.builtin.defenses.natural import Natural
from benchbench.builtin.defenses.trades import Trades
from benchbench.contract import BatchLoss, Examples, Threat
from benchbench.contract.recipe import Augmentation, Recipe
from benchbench.errors import BenchbenchError
from benchbench.events import Event
from benchbench.kernels.determinism import deterministic
from benchbench.registry import load_registry
from benchbench.registry.lookup import find_component
from benchbench.stopping import Stopped, StopRequest
from benchbench.training.checkpoint import Checkpoint
from benchbench.training.job import TrainingJob
from benchbench.training.loop import TrainedModel, train
from benchbench.training.shared_layers import sharing_obstacle

STATE = dict[str, Tensor]
# 23 examples in batches of 11: neither divides by two or three, and of the last batch's single example one rank gets none.
EXAMPLES, BATCH = 23, 11


class Double(nn.Module):
    """A network that computes in float64: there, rounding does not flip the sign of a gradient that is nearly zero."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.double()

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.double()).float()


class Stumbling:
    """A loss that one rank cannot compute."""

    def loss(self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: Any) -> BatchLoss:
        if len(images) == 6:  # of 11, the second rank's
            raise LookupError("nothing here")
        return Natural().loss(model, images, labels, threat=threat, generator=generator)


class Exploding:
    """A loss that is not finite, for which no rank can do anything."""

    def loss(self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: Any) -> BatchLoss:
        result = Natural().loss(model, images, labels, threat=threat, generator=generator)
        return BatchLoss(loss=result.loss * float("nan"))


class Aside(nn.Module):
    """A network with a head that nobody asks."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(36, 3), nn.Linear(36, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.body(images.flatten(1))
        return logits


def plain() -> nn.Module:
    """Two kinds of dropout."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Dropout2d(0.25),
        nn.Flatten(),
        nn.Linear(144, 16),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(16, 3),
    )


def normalised() -> nn.Module:
    """Batch normalisation, too, in float64."""
    torch.manual_seed(0)
    return Double(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout2d(0.25),
            nn.Conv2d(4, 4, 3),
            nn.BatchNorm2d(4, momentum=None, affine=False),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(64, 3),
        )
    )


DEFENSES = {"natural": Natural(), "at": AdversarialTraining(), "trades": Trades(beta=6.0), "llr": LocalLinearity()}


def job(defense: Any, model: nn.Module, epochs: int = 2, device: str = "cpu") -> TrainingJob:
    generator = torch.Generator().manual_seed(1)
    examples = Examples(
        inputs=torch.randint(0, 255, (EXAMPLES, 1, 6, 6), generator=generator, dtype=torch.uint8),
        labels=torch.randint(0, 3, (EXAMPLES,), generator=generator),
    )
    return TrainingJob(
        model=model,
        defense=defense,
        examples=examples,
        rows=torch.arange(EXAMPLES),
        threat=Threat(epsilon=0.1),
        recipe=Recipe(
            learning_rate=1e-3,
            momentum=0.9,
            epochs=epochs,
            batch_size=BATCH,
            augmentation=Augmentation(padding=1, flip=True),
        ),
        seed=0,
        device=torch.device(device),
    )


def learn_all(ranks: Ranks | None) -> dict[str, TrainedModel]:
    """Every defense on both networks, in float32 where that is exact enough: LLR follows gradients that are nearly zero."""
    jobs = {f"{name} in float64": job(defense, normalised()) for name, defense in DEFENSES.items()}
    jobs |= {f"{name} in float32": job(defense, plain()) for name, defense in DEFENSES.items() if name != "llr"}
    return {name: train(one, ranks=ranks) for name, one in jobs.items()}


HARVESTS: dict[str, dict[str, Any]] = {
    "best of ema": {
        "weight_averaging": "ema",
        "ema_decay": 0.8,
        "checkpoint_selection": "best-robust",
        "validation": 7,
    },
    "best of swa": {"weight_averaging": "swa", "swa_start": 1, "checkpoint_selection": "best-clean", "validation": 7},
}


def harvest_all(ranks: Ranks | None, folder: Path) -> dict[str, TrainedModel]:
    """Averaged and selected weights, trained in two sittings: the second one loads the state that rank 0 has kept."""
    found = {}
    for name, fields in HARVESTS.items():
        checkpoint = Checkpoint(folder / name, "id")
        for stopping in (True, False):
            stop, taken = StopRequest(), []

            def count(stop: StopRequest = stop, taken: list[None] = taken) -> None:
                taken.append(None)
                if len(taken) == 4:
                    stop.request("enough")

            one = job(Counting(count) if stopping else Natural(), normalised(), epochs=2)
            recipe = dataclasses.replace(one.recipe, **fields)
            with suppress(Stopped):
                one = dataclasses.replace(one, recipe=recipe, validation=one.examples, validation_rows=one.rows + 100)
                found[name] = train(one, checkpoint=checkpoint, stop=stop, ranks=ranks)
    return found


def test_ranks_average_and_select_as_one_process_does(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    alone = harvest_all(None, tmp_path / "alone")
    first, second = in_ranks(2, harvest_all, tmp_path / "ranks")
    for name, expected in alone.items():
        states = [one[name].model.state_dict() for one in (first, second)]
        assert furthest(*states) == 0, name
        assert furthest(states[0], expected.model.state_dict()) < 1e-12, name
        assert [one.scores for one in first[name].history] == [one.scores for one in expected.history]
        assert all(None not in dataclasses.astuple(one.scores) for one in expected.history)
        assert furthest(states[0], normalised().state_dict()) > 1e-3, name


def learn_in_bf16(ranks: Ranks | None) -> list[STATE]:
    """Natural training, in bfloat16, of a network with batch normalisation: the weights before, and after."""
    model = normalised().network.float()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    taken = job(Natural(), model)
    recipe = dataclasses.replace(taken.recipe, precision="bf16")
    return [before, train(dataclasses.replace(taken, recipe=recipe), ranks=ranks).model.state_dict()]


def furthest(one: STATE, other: STATE) -> float:
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


LARGE: dict[str, tuple[dict[str, Any] | str, tuple[int, ...]]] = {
    "WRN-40-10": ({"name": "wrn", "depth": 40, "width": 10}, (3, 32, 32)),
    "ResNet50": ("resnet50", (3, 64, 64)),
}


def learn_large(ranks: Ranks | None, name: str) -> list[STATE]:
    """Two steps of natural training on the paper's large networks: the weights before, and after."""
    registry = load_registry()
    entry, shape = LARGE[name]
    torch.manual_seed(0)
    model = registry.make(
        "architecture", find_component(registry, "architecture", entry), input_shape=shape, classes=10
    )
    if name == "ResNet50":  # normalising over so few examples magnifies the rounding of float32
        model = Double(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    examples = Examples(
        inputs=torch.randint(0, 255, (8, *shape), generator=generator, dtype=torch.uint8), labels=torch.arange(8)
    )
    taken = dataclasses.replace(job(Natural(), model, epochs=1), examples=examples, rows=torch.arange(8))
    recipe = dataclasses.replace(taken.recipe, batch_size=4, augmentation=Augmentation())
    trained = train(dataclasses.replace(taken, recipe=recipe), ranks=ranks)
    return [before, trained.model.state_dict()]


@pytest.mark.exhaustive  # takes minutes
@pytest.mark.parametrize("name", LARGE)
def test_ranks_learn_large_networks_as_one_process_does(name: str) -> None:
    torch.set_num_threads(1)
    before, expected = learn_large(None, name)
    (_, first), (_, second) = in_ranks(2, learn_large, name)
    assert furthest(first, second) == 0
    assert furthest(first, expected) < (1e-9 if name == "ResNet50" else 1e-3) * furthest(expected, before)


def learn_on_gpus(ranks: Ranks | None) -> dict[str, STATE]:
    """Every defense on the network with batch normalisation, each rank on its GPU."""
    device = f"cuda:{torch.cuda.current_device()}"
    with deterministic(torch.device(device)):
        trained = {
            name: train(job(defense, normalised().to(device), device=device), ranks=ranks)
            for name, defense in DEFENSES.items()
        }
    return {name: {key: value.cpu() for key, value in one.model.state_dict().items()} for name, one in trained.items()}


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.skipif(not torch.distributed.is_nccl_available(), reason="needs NCCL, which the pretend device lacks")
def test_ranks_on_gpus_learn_what_one_process_learns_on_one() -> None:
    expected = learn_on_gpus(None)
    first, second = in_ranks(2, learn_on_gpus, device="cuda")
    for name, state in expected.items():
        assert furthest(first[name], state) < 1e-9, name
        assert furthest(first[name], second[name]) == 0, name


@pytest.fixture(scope="module")
def alone() -> dict[str, TrainedModel]:
    torch.set_num_threads(1)
    return learn_all(None)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.sampled(2)
def test_ranks_learn_what_one_process_learns(count: int, alone: dict[str, TrainedModel]) -> None:
    first, *others = in_ranks(count, learn_all)
    for name, expected in alone.items():
        state, trained = expected.model.state_dict(), first[name]
        assert furthest(trained.model.state_dict(), state) < (1e-12 if "float64" in name else 1e-6), name
        assert trained.history[-1].loss == pytest.approx(expected.history[-1].loss, rel=1e-6)
        assert trained.history[-1].accuracy == expected.history[-1].accuracy
        assert trained.ranks == count
        untrained = normalised() if "float64" in name else plain()
        assert furthest(state, untrained.state_dict()) > 1e-3, name
        for other in others:
            assert furthest(other[name].model.state_dict(), trained.model.state_dict()) == 0


def test_ranks_learn_in_bf16_what_one_process_learns_up_to_its_rounding() -> None:
    torch.set_num_threads(1)
    before, expected = learn_in_bf16(None)
    (_, first), (_, second) = in_ranks(2, learn_in_bf16)
    assert furthest(first, second) == 0
    assert furthest(first, expected) < 0.1 * furthest(expected, before)


def train_for(ranks: Ranks | None, folder: Path, steps: int | None) -> Any:
    """Train from the checkpoint of a folder, to the end or for some steps; what rank 0 alone may do, all are asked to."""
    stop = StopRequest()
    taken = 0

    def count(*_: object) -> None:
        nonlocal taken
        taken += 1
        if taken == steps:
            stop.request("enough")

    one = job(Counting(count), plain(), epochs=3)
    try:
        trained: TrainedModel = train(one, checkpoint=Checkpoint(folder / "model", "id"), stop=stop, ranks=ranks)
    except Stopped as reason:
        return str(reason)
    return trained.model.state_dict()


class Counting:
    """Natural training that says when a step is taken."""

    def __init__(self, say: Any) -> None:
        self.say = say

    def loss(self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: Any) -> BatchLoss:
        self.say()
        return Natural().loss(model, images, labels, threat=threat, generator=generator)


def test_a_training_goes_on_with_another_number_of_processes_and_back(tmp_path: Path) -> None:
    through = train_for(None, tmp_path / "through", None)
    assert train_for(None, tmp_path, 2) == "enough"
    stopped = in_ranks(2, train_for, tmp_path, 2)
    assert stopped[0] == "enough"
    after_ranks = (tmp_path / "model").read_bytes()
    finished = train_for(None, tmp_path, None)
    assert furthest(finished, through) < 2e-6
    (tmp_path / "model").write_bytes(after_ranks)
    assert all(furthest(state, through) < 2e-6 for state in in_ranks(2, train_for, tmp_path, None))


def count_decisions(ranks: Ranks) -> int:
    """How often the leader is asked in an epoch of 22 small steps."""
    asked = 0
    decide = ranks.decide

    def counted(decision: int) -> int:
        nonlocal asked
        asked += 1
        return decide(decision)

    ranks.decide = counted  # type: ignore[method-assign]
    small = job(Natural(), plain(), epochs=1)
    train(dataclasses.replace(small, recipe=dataclasses.replace(small.recipe, batch_size=1)), ranks=ranks)
    return asked


def test_ranks_do_not_ask_the_leader_at_every_step() -> None:
    first, second = in_ranks(2, count_decisions)
    assert first == second  # or one waits for the other forever
    assert first <= 15  # once for the epoch, then after each half a second, which on a busy machine holds few steps


def behave(ranks: Ranks) -> dict[str, Any]:
    """What a rank does beside learning."""
    heard: list[Event] = []
    model = normalised()
    train(job(Natural(), model), listener=heard.append, ranks=ranks)
    return {
        "events": len(heard),
        "changed layers": sum("forward" in vars(module) for module in model.modules()),
        "not finite": said_by(ranks, Exploding(), plain()),
        "unused": said_by(ranks, Natural(), Aside()),
        "stumbling": said_by(ranks, Stumbling(), plain()),  # the last, for it ends all
    }


def said_by(ranks: Ranks, defense: Any, model: nn.Module) -> str:
    try:
        train(job(defense, model), ranks=ranks)
    except BenchbenchError as error:
        return f"{type(error).__name__}: {error.message}"
    return "no error"


@pytest.fixture(scope="module")
def behaviour() -> list[dict[str, Any]]:
    return in_ranks(2, behave)


def test_only_the_first_rank_speaks(behaviour: list[dict[str, Any]]) -> None:
    assert [said["events"] > 0 for said in behaviour] == [True, False]


def test_layers_are_given_back_as_they_were(behaviour: list[dict[str, Any]]) -> None:
    assert [said["changed layers"] for said in behaviour] == [0, 0]


def test_the_failure_of_one_rank_ends_all_with_its_reason(behaviour: list[dict[str, Any]]) -> None:
    assert [said["stumbling"] for said in behaviour] == ["RankError: rank 1 of 2: LookupError: nothing here"] * 2


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ("not finite", "the training loss is not finite in epoch 1"),
        ("unused", "ranks cannot share this training: parameter head.weight has no part in the loss"),
    ],
)
def test_what_fails_alike_on_all_ranks_is_the_failure_of_a_cell(
    failure: str, reason: str, behaviour: list[dict[str, Any]]
) -> None:
    for said in behaviour:
        assert said[failure].startswith(f"TrainingError: {reason}")


class Stepping:
    """Takes its own steps."""

    def step(self, *_: object, **__: object) -> BatchLoss:
        raise NotImplementedError


class Subtle(nn.BatchNorm2d):
    """May compute anything."""


def test_what_ranks_cannot_share_is_said() -> None:
    assert sharing_obstacle(normalised(), Natural()) == ""
    assert "optimiser steps" in sharing_obstacle(plain(), Stepping())
    assert "batch normalisation" in sharing_obstacle(nn.Sequential(Subtle(3)), Natural())
    assert "dropout" in sharing_obstacle(nn.Sequential(nn.AlphaDropout(0.5)), Natural())
