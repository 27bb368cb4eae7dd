from __future__ import annotations

import torch

from benchbench.contract import Threat
from benchbench.cost import Passes, PassSeconds, time_passes, training_passes

SHAPE = (1, 8, 8)


def test_passes_of_natural_training_are_one_forward_and_one_backward() -> None:
    from benchbench.builtin.defenses.natural import Natural

    assert training_passes(Natural(), SHAPE, 10, Threat(epsilon=0.1)) == Passes(forward=1.0, backward=1.0)


def test_passes_of_adversarial_training_grow_with_its_steps() -> None:
    from benchbench.builtin.defenses.adversarial import AdversarialTraining

    passes = training_passes(AdversarialTraining(steps=7), SHAPE, 10, Threat(epsilon=0.1))
    assert passes == Passes(forward=8.0, backward=8.0)


def test_timing_leaves_the_parameters_trainable_and_is_positive() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    seconds = time_passes(model, SHAPE, torch.device("cpu"))
    assert seconds.forward > 0
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_cost_weighs_each_direction() -> None:
    assert PassSeconds(forward=1.0, backward=2.0).cost(Passes(forward=3.0, backward=4.0)) == 11.0
