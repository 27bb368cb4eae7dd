"""TRADES."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchbench.builtin.defenses.trades import Trades
from benchbench.contract import OptionError


def kl(network, inputs, candidates):
    clean, other = network.log_probabilities(inputs), network.log_probabilities(candidates)
    return (np.exp(clean) * (clean - other)).sum()


def diverging(problem, steps=10, step_ratio=0.2):
    probabilities = np.exp(problem.network.log_probabilities(problem.inputs))
    candidates = problem.normal_start()
    for _ in range(steps):
        gradient = problem.network.gradients(candidates, probabilities)
        candidates = problem.project(candidates + step_ratio * problem.threat.epsilon * np.sign(gradient))
    return candidates


@pytest.mark.parametrize("beta", [1.0, 6.0])
def test_trades_adds_beta_times_the_divergence_with_gradients_through_both_sides(problem, beta):
    candidates = diverging(problem)
    labels = problem.labels.numpy()
    problem.assert_minimises(
        Trades(beta=beta),
        lambda network: network.losses(problem.inputs, labels).sum() + beta * kl(network, problem.inputs, candidates),
    )


def test_trades_leaves_the_image_although_the_divergence_is_flat_there(problem):
    probabilities = np.exp(problem.network.log_probabilities(problem.inputs))
    assert np.abs(problem.network.gradients(problem.inputs, probabilities)).max() < 1e-15
    passed = []
    problem.model.register_forward_pre_hook(lambda _, arguments: passed.append(arguments[0].detach().clone()))
    Trades().loss(problem.model, problem.images, problem.labels, threat=problem.threat, generator=problem.generator())
    candidates = passed[-1]  # the last pass is that of the divergence
    np.testing.assert_allclose(candidates.flatten(1).numpy(), diverging(problem), rtol=0, atol=1e-12)
    moved = problem.threat.distance(candidates, problem.images)
    torch.testing.assert_close(moved, torch.full_like(moved, problem.threat.epsilon))


def test_inner_loop_runs_in_evaluation_mode_and_the_loss_in_training_mode(problem, forward_log):
    log = forward_log(problem.model).train()
    Trades().loss(log, problem.images, problem.labels, threat=problem.threat, generator=problem.generator())
    assert log.passes == [False] * 11 + [True] * 2
    assert log.frozen == [True] * 11 + [False] * 2
    assert log.training


def test_negative_beta_is_refused():
    with pytest.raises(OptionError, match="beta must be at least 0, got -1"):
        Trades(beta=-1.0)
