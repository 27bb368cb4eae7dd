"""The conformance kit, the update in float64, and what must not leave a trace."""

from __future__ import annotations

import functools

import pytest
import torch
from benchbench_awp import benchbench_architectures, benchbench_defenses
from benchbench_awp.defenses import AwpAdversarialTraining, AwpTrades, trades_loss
from benchbench_awp.perturbation import layer_direction, step_at_perturbed_weights
from benchbench_awp.preact_resnet import make_preact_resnet18
from torch import nn
from torch.nn import functional as F

from benchbench.contract import KeyedGenerator, OptionError, ScheduledDefense, SteppingDefense, Threat
from benchbench.testing import check_architecture, check_defense, smooth_toy

BOTH = [AwpAdversarialTraining, AwpTrades]


@pytest.mark.parametrize("defense", BOTH)
def test_awp_keeps_the_contract_and_trains_robustly(defense: type[AwpAdversarialTraining | AwpTrades]) -> None:
    check_defense(defense(), accuracy=0.95, robust_accuracy=0.9)


def test_update_is_the_papers_in_float64() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    inputs, labels = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    layer = nn.Linear(4, 3).double()
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    gamma = 0.3
    loss = step_at_perturbed_weights(
        layer, lambda: F.cross_entropy(layer(inputs), labels, reduction="sum"), optimizer, gamma=gamma
    )

    def gradient(at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # (softmax - one-hot)' x, by hand
        errors = (inputs @ at.T + bias).softmax(dim=1) - F.one_hot(labels, 3)
        return errors.T @ inputs, errors.sum(dim=0)

    ascent, _ = gradient(weight)
    perturbed = weight + gamma * weight.square().sum().sqrt() / ascent.square().sum().sqrt() * ascent
    step_weight, step_bias = gradient(perturbed)
    torch.testing.assert_close(layer.weight.detach(), weight - 0.1 * step_weight)
    torch.testing.assert_close(layer.bias.detach(), bias - 0.1 * step_bias)
    probabilities = (inputs @ perturbed.T + bias).softmax(dim=1)
    torch.testing.assert_close(loss, -probabilities[range(5), labels].log().sum())


def test_perturbation_is_undone_exactly() -> None:
    model, labels = smooth_toy((1, 8, 8), 3), torch.tensor([0, 1, 2])
    images = KeyedGenerator(0, torch.arange(3)).uniform(1, 8, 8)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    step_at_perturbed_weights(
        model, lambda: F.cross_entropy(model(images), labels, reduction="sum"), optimizer, gamma=0.5
    )
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters()))


@pytest.mark.parametrize("defense", BOTH)
def test_weights_are_left_alone_in_the_epochs_of_the_warm_up(defense: type[AwpAdversarialTraining | AwpTrades]) -> None:
    images, labels = KeyedGenerator(0, torch.arange(3)).uniform(1, 8, 8), torch.tensor([0, 1, 2])
    plain, warming = defense(gamma=0.0), defense(gamma=0.5, warm_up=2)
    assert isinstance(warming, ScheduledDefense)

    def weights(one: AwpAdversarialTraining | AwpTrades, epoch: int) -> torch.Tensor:
        model = smooth_toy((1, 8, 8), 3)
        optimizer, generator = torch.optim.SGD(model.parameters(), lr=0.1), KeyedGenerator(1, torch.arange(3))
        one.at_epoch(epoch)
        one.step(model, images, labels, threat=Threat(epsilon=0.1), generator=generator, optimizer=optimizer)
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    same = [torch.equal(weights(warming, epoch), weights(plain, epoch)) for epoch in (0, 1, 2, 3, 1)]
    assert same == [True, True, False, False, True]


def test_perturbation_raises_the_loss() -> None:
    model, labels = smooth_toy((1, 8, 8), 3), torch.tensor([0, 1, 2])
    images = KeyedGenerator(0, torch.arange(3)).uniform(1, 8, 8)
    losses = [
        float(
            step_at_perturbed_weights(
                model,
                lambda: F.cross_entropy(model(images), labels, reduction="sum"),
                torch.optim.SGD(model.parameters(), lr=0.0),
                gamma=gamma,
            )
        )
        for gamma in (0.0, 0.01, 0.05)
    ]
    assert losses[0] < losses[1] < losses[2]


def test_without_perturbation_the_step_is_plain_gradient_descent() -> None:
    models = [smooth_toy((1, 8, 8), 3) for _ in range(2)]
    images, labels = KeyedGenerator(0, torch.arange(3)).uniform(1, 8, 8), torch.tensor([0, 1, 2])
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in models]
    step_at_perturbed_weights(
        models[0], lambda: F.cross_entropy(models[0](images), labels, reduction="sum"), optimizers[0], gamma=0.0
    )
    F.cross_entropy(models[1](images), labels, reduction="sum").backward()
    optimizers[1].step()
    assert all(torch.equal(one, other) for one, other in zip(models[0].parameters(), models[1].parameters()))


def test_layer_without_gradient_is_not_perturbed() -> None:
    assert torch.equal(layer_direction(torch.ones(2, 2), torch.zeros(2, 2)), torch.zeros(2, 2))


def test_direction_has_the_length_of_the_weights() -> None:
    weight, gradient = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2e-20]])
    torch.testing.assert_close(layer_direction(weight, gradient), torch.tensor([[0.0, 5.0]]))


def test_search_for_the_perturbation_leaves_statistics_and_dropout_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2)).train()
    inputs, labels = torch.randn(6, 4), torch.arange(6) % 2
    passes = []

    def objective() -> torch.Tensor:
        passes.append(torch.random.get_rng_state())
        return F.cross_entropy(model(inputs), labels, reduction="sum")

    step_at_perturbed_weights(model, objective, torch.optim.SGD(model.parameters(), lr=0.0), gamma=0.01)
    assert torch.equal(*passes)  # the same dropout mask both times
    assert model[1].num_batches_tracked == 1


def test_trades_loss_is_the_formula() -> None:
    model, labels = smooth_toy((1, 8, 8), 3).double(), torch.tensor([0, 1, 2])
    images = KeyedGenerator(0, torch.arange(3)).uniform(1, 8, 8).double()
    candidates = (images + 0.1).clamp(max=1.0)
    p, q = model(images).softmax(dim=1), model(candidates).softmax(dim=1)
    expected = -p[range(3), labels].log().sum() + 2.5 * (p * (p / q).log()).sum()
    torch.testing.assert_close(trades_loss(model, images, candidates, labels, 2.5), expected)


def test_search_of_trades_starts_beside_the_image_and_is_not_clipped_to_the_box() -> None:
    model, images, seen = smooth_toy((1, 8, 8), 3), torch.zeros(3, 1, 8, 8), []
    model.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach().clone()))
    generators = [KeyedGenerator(1, torch.arange(3)) for _ in range(2)]
    AwpTrades()._diverging_images(model, images, threat=Threat(epsilon=0.1), generator=generators[0])
    clean, start, *later = seen
    assert torch.equal(clean, images)
    torch.testing.assert_close(start, 0.001 * generators[1].normal(1, 8, 8))
    assert all(point.min() >= 0.0 for point in later)


@pytest.mark.parametrize("defense", BOTH)
def test_both_work_in_l2(defense: type[AwpAdversarialTraining | AwpTrades]) -> None:
    check_defense(defense(), threat=Threat(norm="l2", epsilon=0.3), accuracy=0.95)


@pytest.mark.parametrize("options", [{"gamma": -1.0}, {"steps": 0}, {"step_ratio": 0.0}])
@pytest.mark.parametrize("defense", BOTH)
def test_option_out_of_range_is_refused(
    defense: type[AwpAdversarialTraining | AwpTrades], options: dict[str, float]
) -> None:
    with pytest.raises(OptionError, match="must be"):
        defense(**options)  # type: ignore[arg-type]


def test_offers_name_stepping_defenses() -> None:
    assert [offer.name for offer in benchbench_defenses()] == ["awp-at", "awp-trades"]
    assert all(isinstance(defense(), SteppingDefense) for defense in BOTH)
    assert [offer.name for offer in benchbench_architectures()] == ["preact-resnet-18"]


def test_architecture_keeps_the_contract() -> None:
    check_architecture(functools.partial(make_preact_resnet18, width=4), input_shapes=[(1, 16, 16), (3, 32, 32)])


def test_architecture_has_the_size_known_from_cifar() -> None:
    model = make_preact_resnet18(input_shape=(3, 32, 32), classes=10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_172_170
    with pytest.raises(OptionError, match="at least 16x16"):
        make_preact_resnet18(input_shape=(3, 8, 8), classes=10)
