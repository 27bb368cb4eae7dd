"""The conformance kit, the steps by hand, and what is carried from batch to batch."""

from __future__ import annotations

import pytest
import torch
from benchbench_fast_at import benchbench_attacks, benchbench_defenses
from benchbench_fast_at.fast import FastAdversarialTraining, RandomStartFgsm
from benchbench_fast_at.free import FreeAdversarialTraining

from benchbench.contract import KeyedGenerator, OptionError, StatefulDefense, SteppingDefense, Threat
from benchbench.testing import LinearToy, check_attack, check_defense


def test_fast_at_keeps_the_contract_and_trains_robustly() -> None:
    check_defense(FastAdversarialTraining(), accuracy=0.95, robust_accuracy=0.9)


def test_free_at_keeps_the_contract_and_trains_robustly() -> None:
    check_defense(FreeAdversarialTraining(replays=4), accuracy=0.95, robust_accuracy=0.9)


def test_attack_keeps_the_contract() -> None:
    check_attack(RandomStartFgsm(step_ratio=2.0), norms=["linf"])


def test_step_is_the_papers_on_a_linear_model() -> None:
    weight = torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 1.0]])
    images = torch.full((2, 3), 0.5)
    labels, threat = torch.tensor([0, 1]), Threat(epsilon=0.1)
    rows = torch.arange(2)
    candidates = RandomStartFgsm().perturb(
        LinearToy(weight), images, labels, threat=threat, generator=KeyedGenerator(3, rows)
    )
    noise = KeyedGenerator(3, rows).uniform_like(images, low=-0.1, high=0.1)
    towards_other = torch.stack([weight[1] - weight[0], weight[0] - weight[1]]).sign()
    torch.testing.assert_close(candidates - images, (noise + 0.125 * towards_other).clamp(-0.1, 0.1))


def test_one_step_across_the_ball_leaves_the_exactly_robust_images_of_two_classes_standing() -> None:
    draws = KeyedGenerator(7, torch.arange(200))
    pixels, slopes = draws.uniform(64), draws.child("slopes").normal(64)[0]
    images = torch.where(draws.child("faces").uniform(64) < 0.5, pixels.round(), pixels)
    model = LinearToy(torch.stack([slopes, -slopes]), 0.5 * torch.stack([-slopes.sum(), slopes.sum()]))
    labels, threat = model(images).argmax(dim=1), Threat(epsilon=0.1)
    down = -slopes * (1.0 - 2.0 * labels)[:, None]  # what lowers the margin, pixel by pixel, as far as the box lets it
    room = torch.where(down > 0, 1.0 - images, images).clamp(max=threat.epsilon)
    margins = (images - 0.5) @ slopes * (1.0 - 2.0 * labels)
    standing = margins - (down.abs() * room).sum(dim=1)
    generator = KeyedGenerator(3, torch.arange(200))
    candidates = RandomStartFgsm(step_ratio=2.0).perturb(model, images, labels, threat=threat, generator=generator)
    clear = standing.abs() > 1e-3
    robust = model(candidates).argmax(dim=1) == labels
    assert torch.equal(robust[clear], standing[clear] > 0)
    assert 20 < int(robust.sum()) < 180


def test_random_start_matters_below_twice_epsilon() -> None:
    images, labels = torch.full((1, 3), 0.5), torch.tensor([0])
    model, threat = LinearToy(torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 1.0]])), Threat(epsilon=0.1)
    pairs = [
        [
            RandomStartFgsm(step_ratio=ratio).perturb(
                model, images, labels, threat=threat, generator=KeyedGenerator(seed, torch.tensor([0]))
            )
            for seed in (1, 2)
        ]
        for ratio in (1.0, 2.0)
    ]
    assert not torch.equal(*pairs[0])
    torch.testing.assert_close(*pairs[1])


def step(defense: FreeAdversarialTraining, model: LinearToy, images: torch.Tensor, labels: torch.Tensor) -> float:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    generator = KeyedGenerator(0, torch.arange(len(images)))
    outcome = defense.step(model, images, labels, threat=Threat(epsilon=0.1), generator=generator, optimizer=optimizer)
    return float(outcome.loss)


def test_free_replays_are_the_algorithm_by_hand() -> None:
    weight = torch.tensor([[1.0, -2.0], [0.0, 1.0]])
    images, labels = torch.tensor([[0.5, 0.5], [0.4, 0.6]]), torch.tensor([0, 1])
    defense, model = FreeAdversarialTraining(replays=3, step_ratio=0.6), LinearToy(weight)
    step(defense, model, images, labels)
    w, b, d = weight.double(), torch.zeros(2).double(), torch.zeros(2, 2).double()
    for _ in range(3):
        x = images.double() + d
        errors = (x @ w.T + b).softmax(dim=1) - torch.eye(2).double()[labels]
        d = (d + 0.06 * (errors @ w).sign()).clamp(-0.1, 0.1)
        w, b = w - 0.1 * errors.T @ x, b - 0.1 * errors.sum(dim=0)
    torch.testing.assert_close(model.weight.double(), w, rtol=1e-5, atol=1e-6, check_dtype=False)
    torch.testing.assert_close(defense.state_dict()["delta"].double(), d, rtol=1e-5, atol=1e-6)


def test_perturbation_is_carried_to_the_next_batch_and_a_small_batch_keeps_the_rest() -> None:
    defense, model = FreeAdversarialTraining(replays=1), LinearToy(torch.tensor([[1.0, -2.0], [0.0, 1.0]]))
    images, labels = torch.full((4, 2), 0.5), torch.tensor([0, 1, 0, 1])
    step(defense, model, images, labels)
    before = defense.state_dict()["delta"]
    assert bool((before.abs() == 0.1).all())
    step(defense, model, images[:1], 1 - labels[:1])
    after = defense.state_dict()["delta"]
    assert torch.equal(after[1:], before[1:])
    assert not torch.equal(after[0], before[0])
    step(defense, model, torch.full((6, 2), 0.5), torch.tensor([0, 1, 0, 1, 0, 1]))
    assert len(defense.state_dict()["delta"]) == 6


def test_empty_state_forgets_the_perturbation() -> None:
    defense = FreeAdversarialTraining(replays=1)
    assert defense.state_dict() == {}
    step(defense, LinearToy(torch.eye(2)), torch.full((2, 2), 0.5), torch.tensor([0, 1]))
    defense.load_state_dict({})
    assert defense.state_dict() == {}


@pytest.mark.parametrize("options", [{"replays": 0}, {"step_ratio": 0.0}])
def test_option_of_free_at_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="must be"):
        FreeAdversarialTraining(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("component", [FastAdversarialTraining, RandomStartFgsm])
def test_step_ratio_out_of_range_is_refused(component: type[FastAdversarialTraining | RandomStartFgsm]) -> None:
    with pytest.raises(OptionError, match="step_ratio must be above 0"):
        component(step_ratio=0.0)


def test_offers_are_what_they_claim() -> None:
    assert [offer.name for offer in benchbench_defenses()] == ["fast-at", "free-at"]
    assert [offer.name for offer in benchbench_attacks()] == ["fgsm-rs"]
    assert isinstance(FreeAdversarialTraining(), SteppingDefense)
    assert isinstance(FreeAdversarialTraining(), StatefulDefense)
    assert not isinstance(FastAdversarialTraining(), StatefulDefense)
