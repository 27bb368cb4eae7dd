"""Input-gradient regularisation by finite differences, in both variants."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchbench.builtin.defenses.gradient_regularisation import GradientRegularisation
from benchbench.contract import OptionError
from benchbench.testing.toys import LinearToy


def ahead(problem, h):
    gradient = problem.network.gradients(problem.inputs, problem.targets)
    return problem.inputs + h * gradient / np.linalg.norm(gradient, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("variant", "clean_weight", "penalty_weight"), [("equation", 1.0, 1.5), ("released", 2.0, 0.75)]
)
@pytest.mark.parametrize("h", [1.0, 0.1])
def test_gr_adds_the_squared_finite_difference(problem, variant, clean_weight, penalty_weight, h):
    moved, labels = ahead(problem, h), problem.labels.numpy()

    def formula(network):
        clean = network.losses(problem.inputs, labels)
        slope = (network.losses(moved, labels) - clean) / h
        return clean_weight * clean.sum() + penalty_weight * (slope**2).sum()

    problem.assert_minimises(GradientRegularisation(beta=1.5, h=h, variant=variant), formula)


def test_penalty_tends_to_the_squared_gradient_norm_as_h_vanishes(problem):
    arguments = (problem.model, problem.images, problem.labels)
    context = {"threat": problem.threat, "generator": problem.generator()}
    plain = GradientRegularisation(beta=0.0).loss(*arguments, **context).loss
    regularised = GradientRegularisation(beta=1.0, h=1e-5).loss(*arguments, **context).loss
    expected = (problem.network.gradients(problem.inputs, problem.targets) ** 2).sum()
    assert (regularised - plain).item() == pytest.approx(expected, rel=1e-4)


def test_flat_loss_gives_a_zero_penalty_and_finite_gradients(problem):
    model = LinearToy(torch.zeros(3, 6, dtype=torch.float64))
    outcome = GradientRegularisation().loss(
        model, problem.images, problem.labels, threat=problem.threat, generator=problem.generator()
    )
    outcome.loss.backward()
    assert outcome.loss.item() == pytest.approx(len(problem.labels) * np.log(3))
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_gr_takes_two_forward_passes(problem, forward_log):
    log = forward_log(problem.model).train()
    GradientRegularisation().loss(
        log, problem.images, problem.labels, threat=problem.threat, generator=problem.generator()
    )
    assert log.passes == [True, True]


@pytest.mark.parametrize(("options", "named"), [({"h": 0.0}, "h must"), ({"variant": "paper"}, "'equation' or")])
def test_options_out_of_range_are_named(options, named):
    with pytest.raises(OptionError, match=named):
        GradientRegularisation(**options)
