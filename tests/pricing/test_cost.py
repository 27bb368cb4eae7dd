from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import pytest
import torch

from benchbench.contract import Measurement, Recipe, Threat
from benchbench.kernels.determinism import on_threads
from benchbench.pricing import cost
from benchbench.pricing.cost import (
    Passes,
    PassSeconds,
    Phase,
    attack_passes,
    metric_passes,
    time_passes,
    training_phases,
    weigh,
)

SHAPE = (1, 8, 8)
RECIPE = Recipe(learning_rate=0.1, epochs=4)


def test_passes_of_natural_training_are_one_forward_and_one_backward() -> None:
    from benchbench.builtin.defenses.natural import Natural

    (phase,) = training_phases(Natural(), SHAPE, 10, Threat(epsilon=0.1), RECIPE)
    assert phase == Phase(passes=Passes(forward=1.0, weights=1.0), recipe=RECIPE)


def test_passes_of_adversarial_training_grow_with_its_steps() -> None:
    from benchbench.builtin.defenses.adversarial import AdversarialTraining

    (phase,) = training_phases(AdversarialTraining(steps=7), SHAPE, 10, Threat(epsilon=0.1), RECIPE)
    assert phase.passes == Passes(forward=8.0, backward=7.0, weights=1.0)


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


class Descheduled(torch.nn.Module):
    """A model during whose passes the processor does something else."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        time.sleep(0.05)
        logits: torch.Tensor = self.linear(images.flatten(1))
        return logits


def test_time_that_others_have_the_processor_is_not_counted() -> None:
    seconds = time_passes(Descheduled(), SHAPE, torch.device("cpu"))
    assert 0 < seconds.forward < 0.005  # 50 ms for at most 8 examples would be 0.006


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.sampled(2)
def test_busy_neighbours_do_not_multiply_a_price(threads: int) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), *(torch.nn.Linear(1024, 1024) for _ in range(4)))
    spin = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]

    def price() -> float:
        with on_threads(threads):
            seconds = time_passes(model, (1, 32, 32), torch.device("cpu"))
        return seconds.forward + seconds.backward + seconds.weights

    quiet = price()
    neighbours = [subprocess.Popen(spin, stdout=subprocess.PIPE) for _ in range(3 * (os.cpu_count() or 1))]
    try:
        for neighbour in neighbours:
            assert neighbour.stdout is not None
            neighbour.stdout.readline()
        busy = price()
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.communicate()
    assert busy < 4.0 * quiet  # two threads may count as one, and hyperthreads are slower than cores


def test_best_of_several_repeats_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([(1.0, 1.0, 1.0), (8.0, 16.0, 80.0), (16.0, 8.0, 40.0), (80.0, 80.0, 8.0), *[(9.0, 9.0, 9.0)] * 100])
    monkeypatch.setattr(cost, "_time", lambda *_: next(taken))
    monkeypatch.setattr(cost, "PILOT_SECONDS", 48.0)  # which two repeats of eight examples take
    assert time_passes(torch.nn.Linear(1, 1), SHAPE, torch.device("cpu")) == PassSeconds(
        forward=1.0, backward=1.0, weights=1.0
    )


def test_attacks_and_metrics_are_tried_on_a_model_in_evaluation_mode() -> None:
    modes: list[bool] = []

    class Looking:
        """An attack and a metric that look at the mode."""

        def perturb(self, model: torch.nn.Module, images: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
            modes.append(model.training)
            return images

        def measure(self, evidence: Any) -> Measurement:
            modes.append(evidence.model.training)
            return Measurement(values={})

    attack_passes(Looking(), SHAPE, 10, Threat(epsilon=0.1))
    metric_passes(Looking(), SHAPE, 10, Threat(epsilon=0.1))
    assert modes == [False, False]
