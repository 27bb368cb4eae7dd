"""The Foolbox family: every first-order attack runs, global randomness is left alone, misuse is explained."""

from __future__ import annotations

import random
import re

import numpy
import pytest
import torch

from benchbench.builtin.attacks import foolbox_family
from benchbench.builtin.attacks.foolbox_family import foolbox_attack
from benchbench.contract import KeyedGenerator, OptionError, Threat, frozen
from benchbench.testing.toys import smooth_toy, toy_attack_problem

FIRST_ORDER = re.compile(r"(PGD|BasicIterative|FastGradient|ProjectedGradient|FGSM|FGM|DeepFool|DDN|FMN|SparseL1)")


def first_order_members() -> list[str]:
    return [name for name in foolbox_family.members() if FIRST_ORDER.search(name)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("member", first_order_members())
def test_every_first_order_attack_finds_adversarial_examples_in_the_ball(member: str) -> None:
    attack = foolbox_attack(member=member)
    (norm,) = attack.norms
    problem = toy_attack_problem(norm, hardest=0.9)
    generator = KeyedGenerator(1, torch.arange(len(problem.labels)))
    with frozen(problem.model):
        candidates = attack.perturb(
            problem.model, problem.images, problem.labels, threat=problem.threat, generator=generator
        )
    assert float(problem.threat.distance(candidates, problem.images).max()) <= problem.threat.epsilon + 1e-6
    fooled = problem.model(candidates).argmax(dim=1) != problem.labels
    assert bool(fooled[1])  # 0.3 epsilon away; on the nearest one Foolbox 3.3.4 LInfFMN stays at the image
    assert not bool(fooled[-1])  # out of reach


def test_equal_generators_give_equal_candidates_and_global_states_stay() -> None:
    attack = foolbox_attack(member="LinfRepeatedAdditiveUniformNoiseAttack")
    model = smooth_toy((1, 6, 6), 4).eval()
    images = KeyedGenerator(1, torch.arange(6)).uniform(1, 6, 6)
    labels = model(images).argmax(dim=1)

    def run() -> torch.Tensor:
        generator = KeyedGenerator(3, torch.arange(6))
        return attack.perturb(model, images, labels, threat=Threat(epsilon=0.3), generator=generator)

    before = torch.get_rng_state(), numpy.random.get_state()[1].copy(), random.getstate()
    first = run()
    torch.rand(1)  # the global state must not matter either
    before_second = torch.get_rng_state()
    assert torch.equal(run(), first)
    assert torch.equal(torch.get_rng_state(), before_second)
    assert not torch.equal(before_second, before[0])
    assert numpy.array_equal(numpy.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


def test_starts_of_first_order_attacks_do_not_depend_on_the_batch() -> None:
    attack = foolbox_attack(member="LinfPGD", steps=3)
    model = smooth_toy((1, 6, 6), 4).eval()
    generator = KeyedGenerator(1, torch.arange(6))
    images = generator.uniform(1, 6, 6)
    labels = model(images).argmax(dim=1)
    rows = torch.tensor([4, 1])
    with frozen(model):
        threat = Threat(epsilon=0.05)
        together = attack.perturb(model, images, labels, threat=threat, generator=generator.take(torch.arange(6)))
        apart = attack.perturb(model, images[rows], labels[rows], threat=threat, generator=generator.take(rows))
    torch.testing.assert_close(apart, together[rows], rtol=0, atol=1e-6)


def test_an_epsilon_of_zero_returns_the_images() -> None:
    model = smooth_toy((1, 6, 6), 2).eval()
    images = torch.full((1, 1, 6, 6), 0.5)
    generator = KeyedGenerator(0, torch.arange(1))
    attack = foolbox_attack(member="LinfPGD")
    threat = Threat(epsilon=0.0)
    assert torch.equal(attack.perturb(model, images, torch.tensor([0]), threat=threat, generator=generator), images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"member": "LinfPDG"}, "LinfPGD"),
        ({"member": "SpatialAttack"}, "rotates and shifts"),
        ({"member": "L0FMNAttack"}, "no attack 'L0FMNAttack' for an L-inf, L2 or L1 ball"),
        ({"member": "FGSM", "steps": 3}, "does not take steps"),
        ({"member": "DDNAttack", "abs_stepsize": 0.1, "random_start": True}, "it takes steps"),
        ({"member": "VirtualAdversarialAttack"}, "needs steps"),
    ],
)
def test_misuse_is_explained(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        foolbox_attack(**options)  # type: ignore[arg-type]


def test_an_attack_in_another_norm_than_the_threat_is_refused() -> None:
    images = torch.full((1, 1, 6, 6), 0.5)
    threat = Threat(norm="l2", epsilon=1.0)
    generator = KeyedGenerator(0, torch.arange(1))
    with pytest.raises(OptionError, match="foolbox:LinfPGD works in linf, the threat is l2"):
        foolbox_attack(member="LinfPGD").perturb(
            smooth_toy((1, 6, 6), 2), images, torch.tensor([0]), threat=threat, generator=generator
        )
