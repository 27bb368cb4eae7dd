"""The toys' exact answers are exact: compared with brute force and with constructed perturbations."""

from __future__ import annotations

import pytest
import torch

from benchbench.contract import NORMS, KeyedGenerator, Norm, Threat
from benchbench.testing import TOY_THREAT, LinearToy, toy_attack_problem, toy_training_examples


def random_toy(classes: int, features: int) -> LinearToy:
    draws = KeyedGenerator(7, torch.arange(classes))
    return LinearToy(draws.normal(features).double(), draws.normal(1)[:, 0].double())


def smallest_direction(difference: torch.Tensor, norm: Norm) -> torch.Tensor:
    """A perturbation of size 1 that raises <difference, delta> most."""
    if norm == "linf":
        return difference.sign()
    if norm == "l2":
        return difference / difference.norm()
    best = torch.zeros_like(difference)
    best[difference.abs().argmax()] = difference[difference.abs().argmax()].sign()
    return best


@pytest.mark.parametrize("norm", NORMS)
def test_perturbation_of_the_exact_distance_lands_on_the_boundary(norm: Norm) -> None:
    model = random_toy(4, 6)
    inputs = KeyedGenerator(1, torch.arange(20)).normal(6).double()
    labels = model(inputs).argmax(dim=1)
    distances = model.distance(inputs, labels, norm)
    for x, y, distance in zip(inputs, labels, distances):
        reached = []
        for target in range(4):
            step = smallest_direction(model.weight[target] - model.weight[y], norm).detach()
            logits = model((x + distance * step)[None])[0].detach()
            reached.append(float(logits[target] - logits[y]) if target != y else -1.0)
        assert max(reached) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_no_random_perturbation_within_the_exact_distance_changes_the_answer(norm: Norm) -> None:
    model = random_toy(4, 6)
    inputs = KeyedGenerator(1, torch.arange(20)).normal(6).double()
    labels = model(inputs).argmax(dim=1)
    distances = model.distance(inputs, labels, norm)
    unit = Threat(norm=norm, epsilon=1.0, lower=-9.0, upper=9.0)
    for draw in range(200):
        noise = KeyedGenerator(draw, torch.arange(20)).normal(6).double()
        noise = noise / unit.distance(noise, torch.zeros_like(noise))[:, None] * distances[:, None] * 0.999
        assert torch.equal(model(inputs + noise).argmax(dim=1), labels)


def test_distance_of_a_wrong_answer_is_negative() -> None:
    model = LinearToy(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    inputs = torch.tensor([[0.5, 0.0]])
    assert model.distance(inputs, torch.tensor([0]), "l2").item() == pytest.approx(0.5)
    assert model.distance(inputs, torch.tensor([1]), "l2").item() == pytest.approx(-0.5)
    assert model.robust(inputs, torch.tensor([0]), Threat(norm="l2", epsilon=0.4)).item()
    assert not model.robust(inputs, torch.tensor([0]), Threat(norm="l2", epsilon=0.6)).item()


def test_lipschitz_constant_is_the_largest_ratio_over_all_corners() -> None:
    model = random_toy(4, 6)
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 6)
    largest = float((corners @ model.weight.detach().T).abs().sum(dim=1).max())
    assert model.lipschitz_constant() == pytest.approx(largest)


@pytest.mark.parametrize("norm", NORMS)
def test_attack_problem_has_the_distances_that_it_states_and_room_in_the_box(norm: Norm) -> None:
    problem = toy_attack_problem(norm, hardest=0.9)
    exact = problem.model.distance(problem.images, problem.labels, norm)
    torch.testing.assert_close(exact, problem.distances, rtol=1e-4, atol=1e-6)
    assert problem.images.min() > problem.threat.epsilon
    assert problem.images.max() < 1 - problem.threat.epsilon


def test_training_problem_has_a_robust_linear_solution_and_a_better_separating_fragile_one() -> None:
    examples = toy_training_examples()
    strength = torch.full((64,), 0.1)
    strength[27:29] = strength[35:37] = 0.3
    strength[::2] *= -1.0
    robust = torch.where(strength.abs() > 0.2, strength, 0.0)
    shares = []
    for direction in (strength, robust):
        model = LinearToy(torch.stack([-direction, direction]), torch.stack([direction.sum(), -direction.sum()]) / 2)
        assert (model(examples.inputs).argmax(dim=1) == examples.labels).all()
        shares.append(float(model.robust(examples.inputs, examples.labels, TOY_THREAT).float().mean()))
    assert shares[0] < 0.5
    assert shares[1] == 1.0
