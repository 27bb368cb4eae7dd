"""Local linearity regularisation, in both variants."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchbench.builtin.defenses.local_linearity import LocalLinearity
from benchbench.contract import OptionError
from benchbench.testing.toys import LinearToy


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


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
        candidates = problem.project(candidates + problem.threat.epsilon / 2 * unit(gradient))
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
        candidates = problem.project(candidates + problem.threat.epsilon / 2 * unit(gradient))
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


@pytest.mark.parametrize("variant", ["equation", "released"])
def test_llr_takes_four_forward_passes_two_of_them_frozen(problem, forward_log, variant):
    log = forward_log(problem.model).train()
    LocalLinearity(variant=variant).loss(
        log, problem.images, problem.labels, threat=problem.threat, generator=problem.generator()
    )
    assert log.passes == [True] * 4
    assert sum(log.frozen) == 2


def test_options_out_of_range_are_all_named():
    with pytest.raises(OptionError, match=r"lam .*mu .*steps .*variant "):
        LocalLinearity(lam=-1.0, mu=-1.0, steps=0, variant="both")
