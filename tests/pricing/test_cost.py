from __future__ import annotations

import torch

from benchbench.contract import Threat
from benchbench.pricing.cost import Passes, PassSeconds, metric_passes, time_passes, training_passes, weigh

SHAPE = (1, 8, 8)


def test_passes_of_natural_training_are_one_forward_and_one_backward() -> None:
    from benchbench.builtin.defenses.natural import Natural

    assert training_passes(Natural(), SHAPE, 10, Threat(epsilon=0.1)) == Passes(forward=1.0, weights=1.0)


def test_passes_of_adversarial_training_grow_with_its_steps() -> None:
    from benchbench.builtin.defenses.adversarial import AdversarialTraining

    passes = training_passes(AdversarialTraining(steps=7), SHAPE, 10, Threat(epsilon=0.1))
    assert passes == Passes(forward=8.0, backward=7.0, weights=1.0)


def test_timing_leaves_the_parameters_trainable_and_is_positive() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    seconds = time_passes(model, SHAPE, torch.device("cpu"))
    assert seconds.forward > 0
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_cost_weighs_each_direction() -> None:
    seconds = PassSeconds(forward=1.0, backward=2.0, weights=5.0)
    assert seconds.cost(Passes(forward=3.0, backward=4.0)) == 11.0
    assert seconds.cost(Passes(forward=3.0, backward=4.0).times(2) + Passes(weights=1.0)) == 27.0


def test_passes_of_a_metric_are_its_own() -> None:
    from benchbench.builtin.metrics.accuracy import AdversarialAccuracy
    from benchbench.builtin.metrics.lipschitz import LocalLipschitzness

    assert metric_passes(AdversarialAccuracy(), SHAPE, 10, Threat(epsilon=0.1)) == Passes()
    counted = metric_passes(LocalLipschitzness(steps=3), SHAPE, 10, Threat(epsilon=0.1))
    assert counted == Passes(forward=5.0, backward=3.0)  # f(x), three steps, the last iterate


def test_a_model_is_weighed_with_what_it_keeps_for_the_backward_pass() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))
    weight = weigh(model, SHAPE, torch.device("cpu"))
    assert weight.parameters == weight.state == 4 * (64 * 16 + 16 + 16 * 10 + 10)
    assert weight.activations == 4 * (64 + 16)  # the input, and what ReLU gives, which two layers keep together
