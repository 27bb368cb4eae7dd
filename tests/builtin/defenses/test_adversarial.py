"""Adversarial training and robust self-training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchbench.builtin.defenses.adversarial import AdversarialTraining, RobustSelfTraining
from benchbench.contract import KeyedGenerator, OptionError, Threat, adversarial_images
from benchbench.testing.toys import LinearToy


def pgd(problem, steps=10, step_ratio=0.2):
    candidates = problem.uniform_start()
    for _ in range(steps):
        gradient = problem.network.gradients(candidates, problem.targets)
        candidates = problem.project(candidates + step_ratio * problem.threat.epsilon * np.sign(gradient))
    return candidates


def test_at_minimises_the_cross_entropy_at_pgd_images(problem):
    candidates = pgd(problem)
    problem.assert_minimises(
        AdversarialTraining(), lambda network: network.losses(candidates, problem.labels.numpy()).sum()
    )


@pytest.mark.parametrize("lam", [0.5, 2.0])
def test_rst_adds_lam_times_the_adversarial_loss(problem, lam):
    candidates = pgd(problem, steps=3, step_ratio=0.4)
    labels = problem.labels.numpy()
    problem.assert_minimises(
        RobustSelfTraining(lam=lam, steps=3, step_ratio=0.4),
        lambda network: (network.losses(problem.inputs, labels) + lam * network.losses(candidates, labels)).sum(),
    )


@pytest.mark.parametrize(
    ("norm", "direction"),
    [("linf", lambda w: w.sign()), ("l2", lambda w: w / w.norm(dim=1, keepdim=True))],
)
def test_inner_maximiser_reaches_the_known_optimum_of_a_linear_model(norm, direction):
    draws = torch.Generator().manual_seed(3)
    weight = torch.randn(2, 12, generator=draws)
    images = torch.rand(6, 3, 2, 2, generator=draws) * 0.2 + 0.4  # far from the faces of the box
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    # L2 steps of constant length turn on the sphere until they point outwards: more of them come closer.
    candidates = adversarial_images(
        LinearToy(weight),
        images,
        labels,
        threat=Threat(norm=norm, epsilon=0.1),
        generator=KeyedGenerator(0, torch.arange(6)),
        steps=60,
        step_ratio=0.5,
    )
    away = weight[1 - labels] - weight[labels]
    expected = images + 0.1 * direction(away).view_as(images)
    torch.testing.assert_close(candidates, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_inner_maximiser_never_leaves_ball_or_box(problem, norm):
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, images):
            seen.append(images.detach().clone())
            return problem.model(images)

    threat = Threat(norm=norm, epsilon=0.3)
    AdversarialTraining(steps=5, step_ratio=2.0).loss(
        Spy(), problem.images, problem.labels, threat=threat, generator=problem.generator()
    )
    assert len(seen) == 6
    for candidates in seen:
        assert (threat.distance(candidates, problem.images) <= 0.3 + 1e-12).all()
        assert ((candidates >= 0) & (candidates <= 1)).all()
    assert not torch.equal(seen[0], problem.images)


def test_inner_loop_runs_in_training_mode_without_extra_passes(problem, forward_log):
    for defense, expected in ((AdversarialTraining(), 11), (RobustSelfTraining(), 12)):
        log = forward_log(problem.model).train()
        defense.loss(log, problem.images, problem.labels, threat=problem.threat, generator=problem.generator())
        assert log.passes == [True] * expected
        assert log.frozen == [True] * 10 + [False] * (expected - 10)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"steps": 0}, "steps"), ({"step_ratio": 0.0}, "step_ratio"), ({"lam": -1.0, "steps": -1}, "lam.*steps")],
)
def test_options_out_of_range_are_named(options, named):
    with pytest.raises(OptionError, match=named):
        RobustSelfTraining(**options)
