"""Local linearity regularisation, in both variants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchbench.builtin.defenses.local_linearity import LocalLinearity
from benchbench.contract import OptionError, Threat
from benchbench.testing.toys import LinearToy


def stepped(problem, candidates, gradient):
    """One step of the search in the L-inf ball, in NumPy."""
    moved = candidates + problem.threat.epsilon / 2 * gradient / np.abs(gradient).max(1, keepdims=True)
    delta = np.clip(moved, 0.0, 1.0) - problem.inputs
    length = np.abs(delta).max(1, keepdims=True)
    epsilon = problem.threat.epsilon
    return problem.inputs + delta * np.where(length > epsilon, epsilon / (length + 1e-7), 1.0)  # as torch.renorm


def beyond_linear(network, problem, candidates):
    labels = problem.labels.numpy()
    linear = ((candidates - problem.inputs) * network.gradients(problem.inputs, problem.targets)).sum(1)
    return network.losses(candidates, labels) - network.losses(problem.inputs, labels) - linear


def least_linear(problem):
    candidates = problem.normal_start()
    slope = problem.network.gradients(problem.inputs, problem.targets)
    for _ in range(2):
        side = np.sign(beyond_linear(problem.network, problem, candidates))[:, None]
        gradient = side * (problem.network.gradients(candidates, problem.targets) - slope)
        candidates = stepped(problem, candidates, gradient)
    return candidates


def test_equation_passes_gradients_through_the_input_gradient(problem):
    candidates = least_linear(problem)

    def formula(network):
        clean = network.losses(problem.inputs, problem.labels.numpy()).sum()
        linear = ((candidates - problem.inputs) * network.gradients(problem.inputs, problem.targets)).sum(1)
        deviation = np.abs(beyond_linear(network, problem, candidates)).sum()
        return clean + 4.0 * deviation + 3.0 * np.abs(linear).sum()

    problem.assert_minimises(LocalLinearity(), formula)


def test_released_minimises_the_loss_at_an_ascended_image_instead(problem):
    labels = problem.labels.numpy()
    candidates = problem.normal_start()
    for _ in range(2):
        gradient = problem.network.gradients(candidates, problem.targets)
        candidates = stepped(problem, candidates, gradient)
    problem.assert_minimises(
        LocalLinearity(lam=2.5, mu=100.0, variant="released"),
        lambda network: (network.losses(problem.inputs, labels) + 2.5 * network.losses(candidates, labels)).sum(),
    )


def test_untrained_model_that_answers_zero_gives_finite_gradients(problem):
    model = LinearToy(torch.zeros(3, 6, dtype=torch.float64))
    outcome = LocalLinearity().loss(
        model, problem.images, problem.labels, threat=problem.threat, generator=problem.generator()
    )
    outcome.loss.backward()
    assert outcome.loss.item() == pytest.approx(len(problem.labels) * np.log(3))
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(("variant", "searching"), [("equation", 3), ("released", 2)])
def test_search_runs_frozen_in_evaluation_mode_and_the_loss_in_training_mode(problem, forward_log, variant, searching):
    log = forward_log(problem.model).train()
    LocalLinearity(variant=variant).loss(
        log, problem.images, problem.labels, threat=problem.threat, generator=problem.generator()
    )
    assert log.passes == [False] * searching + [True] * 2
    assert log.frozen == [True] * searching + [False] * 2


def test_first_gradient_is_taken_at_a_start_outside_the_box(problem):
    seen = []
    handle = problem.model.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach().clone()))
    LocalLinearity(variant="released", steps=1).loss(
        problem.model, problem.images, problem.labels, threat=problem.threat, generator=problem.generator()
    )
    handle.remove()
    np.testing.assert_allclose(seen[0].flatten(1).numpy(), problem.normal_start(), rtol=0, atol=1e-15)
    assert seen[0].min() < 0.0
    assert seen[0].max() > 1.0
    assert all(later.min() >= 0.0 and later.max() <= 1.0 for later in seen[1:])


@pytest.mark.parametrize("scale", [1e-200, 1e3])  # the squares of the smaller one vanish
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_step_follows_a_random_direction_where_the_gradient_is_zero(problem, norm, scale):
    threat = Threat(norm=norm, epsilon=0.2, lower=-10.0, upper=10.0)
    flat_at = torch.tensor([1, 3])
    slopes = torch.arange(-2.0, problem.images[0].numel() - 2, dtype=torch.float64)  # one of them is 0
    slopes = slopes.repeat(len(problem.images), 1).index_fill(0, flat_at, 0.0)

    def objective(delta):
        return (slopes * delta.flatten(1)).sum() * scale

    defense = LocalLinearity(steps=1)
    moved = defense._maximise(objective, problem.images, threat=threat, generator=problem.generator()).flatten(1)
    generator = problem.generator()
    start, random = (generator.normal_like(problem.images).flatten(1) for _ in range(2))
    direction = slopes.index_copy(0, flat_at, random[flat_at])
    direction /= direction.norm(p=threat.order, dim=1, keepdim=True)
    torch.testing.assert_close(moved, 0.001 * start + 0.1 * direction, rtol=0, atol=1e-12)


def test_options_out_of_range_are_all_named():
    with pytest.raises(OptionError, match=r"lam .*mu .*variant .*steps "):
        LocalLinearity(lam=-1.0, mu=-1.0, steps=0, variant="both")


def test_llr_with_a_last_term_is_refused_for_a_regression() -> None:
    part: Any = None
    with pytest.raises(OptionError, match="mu must be 0"):
        LocalLinearity().fit_regression(part, part, threat=Threat(epsilon=0.1))
