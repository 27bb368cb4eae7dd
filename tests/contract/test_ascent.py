"""Ascent in a ball and its starts."""

from __future__ import annotations

import pytest
import torch

from benchbench.contract import (
    NORMS,
    KeyedGenerator,
    Threat,
    ascend,
    diverging_images,
    normal_start,
    steepest,
    uniform_start,
)

LENGTH = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}


@pytest.fixture
def draws():
    return torch.Generator().manual_seed(5)


def test_ascent_follows_the_gradient_to_the_corner_of_ball_and_box(draws):
    images = torch.rand(4, 1, 3, 3, generator=draws)
    slope = torch.randn(4, 1, 3, 3, generator=draws)
    candidates = ascend(lambda x: (x * slope).sum(), images, images, threat=Threat(epsilon=0.3), steps=4, step_size=0.1)
    torch.testing.assert_close(candidates, (images + 0.3 * slope.sign()).clamp(0.0, 1.0))


def test_every_step_is_projected_before_the_next(draws):
    images, iterates = torch.rand(2, 5, generator=draws), []

    def objective(candidates):
        iterates.append(candidates.detach().clone())
        return candidates.square().sum()

    ascend(objective, images, images, threat=Threat(epsilon=0.05), steps=3, step_size=0.2)
    assert len(iterates) == 3
    for iterate in iterates[1:]:
        assert ((iterate - images).abs() <= 0.05 + 1e-7).all()
        assert ((iterate >= 0.0) & (iterate <= 1.0)).all()


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_other_balls_are_climbed_to_their_surface(draws, norm):
    images = torch.full((3, 20), 0.5)
    slope = torch.randn(3, 20, generator=draws)
    threat = Threat(norm=norm, epsilon=0.2)
    candidates = ascend(lambda x: (x * slope).sum(), images, images, threat=threat, steps=3, step_size=0.1)
    torch.testing.assert_close(threat.distance(candidates, images), torch.full((3,), 0.2))
    dual = slope.norm(p=2, dim=1) if norm == "l2" else slope.abs().amax(dim=1)
    torch.testing.assert_close(((candidates - images) * slope).sum(1), 0.2 * dual)


def test_start_and_images_are_not_changed_and_the_result_is_its_own(draws):
    images = torch.rand(3, 4, generator=draws)
    start = images.clone()
    with torch.no_grad():  # callers may have gradients switched off
        candidates = ascend(lambda x: x.sum(), start, images, threat=Threat(epsilon=0.1), steps=2, step_size=0.1)
    assert not candidates.requires_grad
    assert not torch.equal(candidates, images)
    assert torch.equal(start, images)
    unmoved = ascend(lambda x: x.sum(), start, images, threat=Threat(epsilon=0.1), steps=0, step_size=0.1)
    assert torch.equal(unmoved, start)
    assert unmoved.data_ptr() != start.data_ptr()


def test_epsilon_zero_asks_the_objective_nothing(draws):
    images = torch.rand(3, 4, generator=draws)

    def objective(candidates):
        raise AssertionError("not needed")

    candidates = ascend(objective, images + 0.1, images, threat=Threat(epsilon=0.0), steps=5, step_size=0.1)
    assert torch.equal(candidates, images)


@pytest.mark.parametrize("norm", NORMS)
def test_steepest_direction_has_length_one_and_is_zero_for_a_zero_gradient(draws, norm):
    gradient = torch.randn(4, 3, 10, 10, generator=draws)
    gradient[1] = 0.0
    length = steepest(gradient, norm).flatten(1).norm(p=LENGTH[norm], dim=1)
    torch.testing.assert_close(length, torch.tensor([1.0, 0.0, 1.0, 1.0]))


def test_steepest_l2_direction_survives_gradients_whose_squares_vanish():
    torch.testing.assert_close(steepest(torch.tensor([[3e-30, -4e-30]]), "l2"), torch.tensor([[0.6, -0.8]]))


def test_steepest_l1_direction_moves_one_coordinate_in_a_hundred(draws):
    gradient = torch.randn(2, 300, generator=draws)
    direction = steepest(gradient, "l1")
    for row, moved in zip(gradient, direction, strict=True):
        largest = row.abs().topk(3).indices
        assert set(moved.nonzero().flatten().tolist()) == set(largest.tolist())
        torch.testing.assert_close(moved[largest], row[largest].sign() / 3)


@pytest.mark.parametrize("norm", NORMS)
def test_uniform_start_fills_the_ball_evenly(norm):
    images = torch.full((4000, 3), 0.5)
    threat = Threat(norm=norm, epsilon=0.2)
    start = uniform_start(images, threat=threat, generator=KeyedGenerator(1, torch.arange(4000)))
    share = (threat.distance(start, images) / 0.2) ** 3  # the volume inside a radius: uniform in [0, 1]
    assert share.max() <= 1.0 + 1e-5
    levels = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])
    torch.testing.assert_close(share.quantile(levels), levels, rtol=0, atol=0.03)
    assert (start - images).mean(0).abs().max() < 0.01


@pytest.mark.parametrize("norm", NORMS)
def test_uniform_start_depends_on_the_example_alone_and_stays_in_the_box(draws, norm):
    images = torch.rand(6, 1, 2, 2, generator=draws).round()
    threat, rows = Threat(norm=norm, epsilon=0.4), torch.arange(10, 16)
    whole = uniform_start(images, threat=threat, generator=KeyedGenerator(1, rows))
    part = uniform_start(images[2:4], threat=threat, generator=KeyedGenerator(1, rows[2:4]))
    assert torch.equal(whole[2:4], part)
    assert ((whole >= 0.0) & (whole <= 1.0)).all()
    assert (threat.distance(whole, images) <= 0.4 + 1e-6).all()


def test_normal_start_is_the_images_plus_noise_that_nothing_clips():
    images, rows = torch.zeros(3, 1, 2, 2), torch.arange(3)
    start = normal_start(images, deviation=0.001, generator=KeyedGenerator(1, rows))
    assert torch.equal(start, 0.001 * KeyedGenerator(1, rows).normal(1, 2, 2))
    assert (start < 0).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_diverging_images_have_a_far_larger_divergence_than_the_start(draws, norm):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 4), torch.nn.Dropout(0.5)).train()
    images, threat = torch.rand(5, 1, 3, 3, generator=draws), Threat(norm=norm, epsilon=0.2)
    start = normal_start(images, deviation=0.001, generator=KeyedGenerator(1, torch.arange(5)))
    found = diverging_images(model, images, start=start, threat=threat, steps=10, step_ratio=0.25)
    assert model.training
    assert all(one.requires_grad and one.grad is None for one in model.parameters())
    assert (threat.distance(found, images) <= 0.2 + 1e-6).all()
    with torch.no_grad():
        clean, at_start, at_end = (model.eval()(one).log_softmax(1) for one in (images, start, found))
        divergences = [
            torch.nn.functional.kl_div(one, clean, reduction="sum", log_target=True) for one in (at_start, at_end)
        ]
    assert divergences[1] > 100 * divergences[0]
