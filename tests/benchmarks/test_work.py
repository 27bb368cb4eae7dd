"""A guard against more work: passes through the model are counted on one that nothing fools, so that nothing stops early."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchbench.builtin.attacks.autoattack.apgd import Apgd
from benchbench.builtin.attacks.autoattack.fab import Fab
from benchbench.builtin.attacks.autoattack.square import Square
from benchbench.builtin.attacks.autoattack.standard import AutoAttack
from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.builtin.metrics.lipschitz import LocalLipschitzness
from benchbench.contract import Attack, Examples, KeyedGenerator, Threat, frozen
from benchbench.evaluation.evidence import ModelEvidence
from benchbench.evaluation.memory import Memory
from benchbench.evaluation.subject import Trial, borrowed, place
from benchbench.evaluation.supervision import counting
from benchbench.events import ignore

CLASSES, IMAGES = 10, 5
THREAT = Threat(epsilon=0.01)
WRONG = CLASSES - 1
STEPS, QUERIES = 20, 30

# Attack to (passes, how many of them with a gradient) for each image. A run of Auto-PGD looks at its start and at each step;
# FAB looks at the slope and at where a step leads, and five times more at the end; each queue looks at the clean images first,
# and at each candidate last.
WORK: dict[str, tuple[Attack, int, int]] = {
    "pgd": (Pgd(steps=STEPS), STEPS, STEPS),
    "pgd, the best of two": (Pgd(steps=STEPS, restarts=2, keep="best"), 2 * (STEPS + 1), 2 * STEPS),
    "mt": (MultiTargeted(steps=STEPS), 1 + WRONG * (STEPS + 1), WRONG * STEPS),
    "apgd-ce": (Apgd(steps=STEPS), 1 + (STEPS + 1) + 1, STEPS + 1),
    "apgd-t": (Apgd(loss="dlr-targeted", steps=STEPS), 1 + WRONG * (STEPS + 2), WRONG * (STEPS + 1)),
    "fab-t": (Fab(steps=STEPS), 1 + WRONG * (2 * STEPS + 5), WRONG * STEPS),
    "square": (Square(queries=QUERIES), 1 + QUERIES + 1, 0),
}
PARTS = ("apgd-ce", "apgd-t", "fab-t", "square")


@pytest.fixture
def model() -> nn.Module:
    linear = nn.Linear(16, CLASSES)
    linear.weight.data = KeyedGenerator(0, torch.arange(CLASSES)).normal(16)
    linear.bias.data = torch.tensor([100.0, *[0.0] * WRONG])
    return nn.Sequential(nn.Flatten(), linear).eval()


def passes(attack: Attack, model: nn.Module) -> tuple[float, float]:
    rows = torch.arange(IMAGES)
    images, labels = KeyedGenerator(1, rows).uniform(1, 4, 4), torch.zeros(IMAGES, dtype=torch.int64)
    with frozen(model), counting(model) as count:
        attack.perturb(model, images, labels, threat=THREAT, generator=KeyedGenerator(2, rows))
    return count.forward / IMAGES, count.gradient / IMAGES


@pytest.mark.parametrize("name", WORK)
def test_attacks_take_the_passes_that_they_cannot_do_without(name: str, model: nn.Module) -> None:
    attack, forward, gradient = WORK[name]
    assert passes(attack, model) == (forward, gradient)


def test_autoattack_takes_those_of_its_parts_and_a_look_at_what_each_of_them_found(model: nn.Module) -> None:
    forward, gradient = (sum(numbers) for numbers in zip(*(WORK[part][1:] for part in PARTS)))
    found = passes(AutoAttack(steps=STEPS, queries=QUERIES), model)
    assert found == (1 + forward + len(PARTS), gradient)


def test_lipschitzness_takes_two_passes_besides_its_steps(model: nn.Module) -> None:
    examples = Examples(inputs=torch.rand(IMAGES, 1, 4, 4), labels=torch.zeros(IMAGES, dtype=torch.int64))
    split = place("test", examples, torch.arange(IMAGES), torch.device("cpu"))
    with borrowed(model), counting(model) as count:
        trial = Trial(
            model=model,
            splits={"test": split},
            classes=CLASSES,
            threat=THREAT,
            attack=Pgd(),
            attack_name="pgd",
            seed=0,
            batch_size=64,
            listener=ignore,
        )
        LocalLipschitzness(steps=STEPS).measure(ModelEvidence(trial, Memory(None)))
    assert (count.forward, count.gradient) == ((STEPS + 2) * IMAGES, STEPS * IMAGES)
