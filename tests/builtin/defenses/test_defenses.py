"""What every built-in defense promises, whatever its loss."""

from __future__ import annotations

import copy

import pytest
import torch
from loss_formulas import EPSILON, TABLE, TOLERANCE, Batch
from torch import nn

from benchbench.builtin.architectures.cnn import make_cnn1, make_cnn2
from benchbench.builtin.architectures.wide_resnet import make_wide_resnet
from benchbench.builtin.defenses.adversarial import AdversarialTraining, RobustSelfTraining
from benchbench.builtin.defenses.gradient_regularisation import GradientRegularisation
from benchbench.builtin.defenses.local_linearity import LocalLinearity
from benchbench.builtin.defenses.natural import Natural
from benchbench.builtin.defenses.trades import Trades
from benchbench.contract import Defense, KeyedGenerator, RegressionDefense, Threat
from benchbench.registry import load_registry

DEFENSES = [
    Natural(),
    AdversarialTraining(),
    RobustSelfTraining(lam=0.5),
    Trades(beta=3.0),
    GradientRegularisation(),
    GradientRegularisation(variant="released"),
    LocalLinearity(),
    LocalLinearity(variant="released"),
]
each_defense = pytest.mark.parametrize(
    "defense", DEFENSES, ids=lambda defense: f"{type(defense).__name__}-{getattr(defense, 'variant', 'only')}"
)


def gradients(model, outcome):
    return torch.autograd.grad(outcome.loss, [p for p in model.parameters() if p.requires_grad])


@each_defense
def test_loss_of_a_batch_is_the_sum_over_its_examples(problem, defense):
    whole = defense.loss(
        problem.model, problem.images, problem.labels, threat=problem.threat, generator=problem.generator()
    )
    single = [
        defense.loss(
            problem.model,
            problem.images[row : row + 1],
            problem.labels[row : row + 1],
            threat=problem.threat,
            generator=problem.generator(slice(row, row + 1)),
        ).loss
        for row in range(len(problem.labels))
    ]
    torch.testing.assert_close(whole.loss, torch.stack(single).sum(), rtol=1e-12, atol=0)


@each_defense
def test_model_and_batch_come_back_as_they_were(problem, defense):
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)
    ).double()
    model.train()
    model[2].eval()
    model[1].bias.requires_grad_(False)
    images, labels = problem.images.clone(), problem.labels.clone()
    outcome = defense.loss(model, images, labels, threat=problem.threat, generator=problem.generator())
    assert [module.training for module in model] == [True, True, False, True, True, True]
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True, True, True]
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(images, problem.images)
    assert torch.equal(labels, problem.labels)
    assert not images.requires_grad
    outcome.loss.backward()
    assert images.grad is None
    assert [p.grad is not None for p in model.parameters()] == [True, False, True, True, True, True]


@each_defense
def test_equal_generators_give_equal_losses(problem, defense):
    losses = [
        defense.loss(
            problem.model, problem.images, problem.labels, threat=problem.threat, generator=problem.generator()
        ).loss
        for _ in range(2)
    ]
    assert torch.equal(losses[0], losses[1])


@pytest.mark.parametrize(
    ("defense", "factor"),
    [
        (AdversarialTraining(), 1.0),
        (RobustSelfTraining(lam=0.5), 1.5),
        (Trades(), 1.0),
        (LocalLinearity(), 1.0),
        (LocalLinearity(variant="released"), 5.0),
    ],
)
def test_epsilon_zero_is_natural_training_up_to_a_factor(problem, defense, factor):
    point = Threat(epsilon=0.0)
    robust = defense.loss(problem.model, problem.images, problem.labels, threat=point, generator=problem.generator())
    natural = Natural().loss(problem.model, problem.images, problem.labels, threat=point, generator=problem.generator())
    torch.testing.assert_close(robust.loss, factor * natural.loss, rtol=1e-12, atol=0)
    for actual, expected in zip(gradients(problem.model, robust), gradients(problem.model, natural), strict=True):
        torch.testing.assert_close(actual, factor * expected, rtol=1e-9, atol=1e-12)


@each_defense
@pytest.mark.parametrize("architecture", ["cnn1", "cnn2", "wrn"])
def test_every_architecture_trains_with_every_defense(defense, architecture):
    shape = (1, 16, 16)
    torch.manual_seed(0)
    model = {
        "cnn1": lambda: make_cnn1(input_shape=shape, classes=4),
        "cnn2": lambda: make_cnn2(input_shape=shape, classes=4),
        "wrn": lambda: make_wide_resnet(input_shape=shape, classes=4, depth=10, width=1, dropout=0.2),
    }[architecture]()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    draws = torch.Generator().manual_seed(1)
    images, labels = torch.rand(3, *shape, generator=draws), torch.tensor([0, 3, 1])
    generator = KeyedGenerator(0, torch.arange(3))
    for _ in range(2):  # CNN2's last layer is zero at first, so that only the second step reaches its other layers
        optimizer.zero_grad()
        defense.loss(model, images, labels, threat=Threat(epsilon=0.1), generator=generator).loss.backward()
        optimizer.step()
    after = model.state_dict()
    unchanged = [name for name, _ in model.named_parameters() if torch.equal(before[name], after[name])]
    assert not unchanged
    assert all(value.isfinite().all() for value in after.values())


@each_defense
def test_defenses_satisfy_the_protocol(defense):
    assert isinstance(defense, Defense)


NAMES = [f"{type(defense).__name__}-{getattr(defense, 'variant', 'only')}" for defense, _ in TABLE]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("defense", "formula"), TABLE, ids=NAMES)
def test_loss_and_gradient_are_the_formulas(defense, formula, norm):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        batch = Batch()
        network = copy.deepcopy(batch.network)
        torch.manual_seed(4)  # dropout draws the same masks for both
        actual = defense.loss(
            batch.network,
            batch.images,
            batch.labels,
            threat=Threat(norm=norm, epsilon=EPSILON),
            generator=batch.generator(),
        ).loss
        torch.manual_seed(4)
        expected = formula(batch, network, norm)
    torch.testing.assert_close(actual, expected, **TOLERANCE)
    found = torch.autograd.grad(actual, list(batch.network.parameters()))
    wanted = torch.autograd.grad(expected, list(network.parameters()))
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, **TOLERANCE)
    for mine, theirs in zip(batch.network.buffers(), network.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, **TOLERANCE)


@pytest.mark.parametrize("name", ["natural", "gr", "llr", "at", "rst", "trades"])
def test_papers_methods_know_how_to_fit_a_regression(name: str) -> None:
    registry = load_registry()
    assert isinstance(registry.make("defense", registry.resolve("defense", name)), RegressionDefense)
    assert registry.get("defense", name).offer.capabilities.task == "any"
