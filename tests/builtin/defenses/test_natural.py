"""Natural training."""

from __future__ import annotations

from benchbench.builtin.defenses.natural import Natural


def test_natural_minimises_the_summed_cross_entropy(problem):
    problem.assert_minimises(Natural(), lambda network: network.losses(problem.inputs, problem.labels.numpy()).sum())
