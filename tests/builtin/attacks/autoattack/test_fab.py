"""FAB: its projection against bisection, minimal distances against exact ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.autoattack.boundary import BoundaryWalk, nearest_on_hyperplane
from benchbench.builtin.attacks.autoattack.fab import Fab, _random_start
from benchbench.builtin.attacks.margins import margin
from benchbench.contract import KeyedGenerator, Norm, OptionError, Threat, frozen
from benchbench.testing import LinearToy, check_attack, smooth_toy, toy_attack_problem


def by_bisection(point: Tensor, normal: Tensor, gap: float, norm: Norm) -> Tensor:
    """The step in float64: the larger the multiplier, the further along, each coordinate stopped by the box [0, 1]."""
    direction = (normal.sign() if norm == "linf" else normal) * math.copysign(1.0, gap)

    def step(level: float) -> Tensor:
        return (point + level * direction).clamp(0.0, 1.0) - point

    low, high = 0.0, 1e14
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if abs(float(normal @ step(middle))) < abs(gap) else (low, middle)
    return step(high)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_projection_equals_bisection(norm: Norm) -> None:
    draws = KeyedGenerator(1, torch.arange(40))
    points = draws.uniform(30, low=-0.2, high=1.2).clamp(0.0, 1.0)  # some on the box's faces
    normals = draws.normal(30) * 10.0 ** draws.uniform(1, low=-8.0, high=3.0)
    reach = torch.where(normals > 0, normals * (1.0 - points), -normals * points).sum(dim=1)  # upwards, within the box
    gaps = reach * draws.uniform(1)[:, 0] * 1.2  # one in six beyond reach
    steps = nearest_on_hyperplane(points, normals, gaps, threat=Threat(norm=norm, epsilon=1.0))
    expected = [by_bisection(x.double(), w.double(), float(g), norm) for x, w, g in zip(points, normals, gaps)]
    torch.testing.assert_close(steps.double(), torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_the_projection_works_without_a_box() -> None:
    points, normals = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])
    open_threat = Threat(norm="l2", epsilon=1.0, lower=-math.inf, upper=math.inf)
    step = nearest_on_hyperplane(points, normals, torch.tensor([-5.0]), threat=open_threat)
    torch.testing.assert_close(step, torch.tensor([[-0.6, -0.8]]))


def test_the_projection_stands_still_where_the_gradient_vanishes() -> None:
    points = torch.full((1, 4), 0.5)
    step = nearest_on_hyperplane(points, torch.zeros(1, 4), torch.tensor([1.0]), threat=Threat(epsilon=1.0))
    assert torch.equal(step, torch.zeros(1, 4))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fab_finds_the_exact_distance_of_a_linear_model(norm: Norm) -> None:
    draws = KeyedGenerator(4, torch.arange(12))
    model = LinearToy(KeyedGenerator(5, torch.arange(6)).normal(25)).eval()
    images = draws.uniform(25, low=0.3, high=0.7)
    labels = model(images).argmax(dim=1)
    threat = Threat(norm=norm, epsilon=0.1, lower=-9.0, upper=9.0)
    with frozen(model):
        closest = Fab(steps=20).search(model, images, labels, threat, draws, enough=0.0)
    exact = model.distance(images, labels, norm)
    assert bool((closest.distances >= exact * (1.0 - 1e-5)).all())
    torch.testing.assert_close(closest.distances, exact, rtol=1e-3, atol=0.0)
    torch.testing.assert_close(threat.distance(closest.candidates, images), closest.distances)
    assert bool((margin(model(closest.candidates), labels) > 0).all())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fab_succeeds_just_beyond_the_exact_distance_and_not_before(norm: Norm) -> None:
    problem = toy_attack_problem(norm, hardest=1.0)
    generator = KeyedGenerator(2, torch.arange(9))
    for factor in (1.01, 0.99):
        for row in range(9):
            one = torch.tensor([row])
            threat = Threat(norm=norm, epsilon=factor * float(problem.distances[row]))
            with frozen(problem.model):
                candidates = Fab(steps=20).perturb(
                    problem.model,
                    problem.images[one],
                    problem.labels[one],
                    threat=threat,
                    generator=generator.take(one),
                )
            assert bool(margin(problem.model(candidates), problem.labels[one]) > 0) == (factor > 1)


def test_fab_keeps_the_contract() -> None:
    check_attack(Fab(steps=20), norms=("linf", "l2"), slack=1.01)


def test_restarts_never_find_a_longer_distance_and_repeat_themselves() -> None:
    draws = KeyedGenerator(3, torch.arange(10))
    model = smooth_toy((1, 4, 4), 5).eval()
    images = draws.uniform(1, 4, 4)
    labels = model(images).argmax(dim=1)
    threat = Threat(norm="l2", epsilon=0.5)
    with frozen(model):
        once, twice, again = (
            Fab(steps=10, restarts=restarts).search(model, images, labels, threat, draws, enough=0.0)
            for restarts in (1, 2, 2)
        )
    assert bool((twice.distances <= once.distances).all())
    assert torch.equal(twice.candidates, again.candidates)


class Threshold(nn.Module):
    """Class 1 where the one pixel is above 0.6; notes the pixels that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen.append(inputs.detach().item())
        return torch.cat([torch.zeros_like(inputs), inputs - 0.6], dim=1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_steps_are_those_of_the_paper(norm: Norm) -> None:
    """Overshoot by 1.05, weigh the step from the image by its share of both, go back to 0.9 of an adversarial point."""
    model, image, label = Threshold().double(), torch.full((1, 1), 0.5).double(), torch.zeros(1, dtype=torch.int64)
    walk = BoundaryWalk(model, threat=Threat(norm=norm, epsilon=0.3), steps=3, enough=0.0)
    walk.run(image, label, 1 - label, image)
    over = 0.5 + 1.05 * 0.1
    back = 0.5 + 0.9 * (over - 0.5)
    left = 0.6 - back
    bias = left / (left + 0.1)
    assert model.seen[:4] == pytest.approx([0.5, over, back, (1 - bias) * (back + 1.05 * left) + bias * over], abs=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_restarts_begin_at_half_of_epsilon_or_of_the_distance_already_found(norm: Norm) -> None:
    images = torch.full((3, 1, 4, 4), 0.5)
    threat = Threat(norm=norm, epsilon=0.2)
    found = torch.tensor([math.inf, 0.3, 0.1])
    start = _random_start(images, found, threat, KeyedGenerator(1, torch.arange(3)))
    torch.testing.assert_close(threat.distance(start, images), torch.tensor([0.1, 0.1, 0.05]))


def test_a_misclassified_image_is_its_own_closest_adversarial_example() -> None:
    problem = toy_attack_problem("linf", hardest=0.9)
    with frozen(problem.model):
        draws = KeyedGenerator(1, torch.arange(9))
        closest = Fab(steps=2).search(
            problem.model, problem.images, 1 - problem.labels, problem.threat, draws, enough=0.0
        )
    assert torch.equal(closest.candidates, problem.images)
    assert torch.equal(closest.distances, torch.zeros(9))


def test_bad_options_are_refused_together() -> None:
    with pytest.raises(OptionError, match=r"steps must be.*targets must be.*restarts must be"):
        Fab(steps=0, targets=0, restarts=0)
