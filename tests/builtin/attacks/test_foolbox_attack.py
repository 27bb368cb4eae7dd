"""The Foolbox family: no attack is missing, every one runs, global randomness is left alone, misuse is explained."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import random
import re

import numpy
import pytest
import torch
from torch import nn

from benchbench.builtin.attacks.foolbox_attack import (
    _NEED_STARTS,
    UNSUITABLE,
    FoolboxAttack,
    boundary_members,
    foolbox_attack,
    foolbox_from_images,
    import_foolbox,
    members,
    norms_of,
    parameters_of,
)
from benchbench.contract import KeyedGenerator, Norm, OptionError, Threat, frozen
from benchbench.testing.toys import smooth_toy, toy_attack_problem

FIRST_ORDER = re.compile(r"(PGD|BasicIterative|FastGradient|ProjectedGradient|FGSM|FGM|DeepFool|DDN|FMN|SparseL1)")


def first_order_members() -> list[str]:
    return [name for name in members() if FIRST_ORDER.search(name)]


class FirstClassOnly(nn.Module):
    """Answers class 0, whatever it sees; of no gradient."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.0, 0.0]) + 0.0 * images.flatten(1)[:, :2]


def concrete_attacks() -> set[str]:
    """Every attack class that any module of Foolbox's attacks defines, but for the bases of others."""
    attacks = import_foolbox().attacks
    found = set()
    for module in pkgutil.iter_modules(attacks.__path__, f"{attacks.__name__}."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if inspect.isclass(value) and issubclass(value, attacks.Attack) and not inspect.isabstract(value):
                found.add(name)
    return found - {"Repeated", "L1BaseGradientDescent", "L2BaseGradientDescent", "LinfBaseGradientDescent"}


def test_no_attack_of_foolbox_is_missing_without_a_reason() -> None:
    exported = {name for name, value in vars(import_foolbox().attacks).items() if inspect.isclass(value)} - {"Attack"}
    assert concrete_attacks() <= exported  # the rest are other names of the same classes
    assert set(members()) | set(UNSUITABLE) == exported
    assert not set(members()) & set(UNSUITABLE)
    assert all(UNSUITABLE.values())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("member", "norm"), [(one, norm) for one in members() for norm in norms_of(one)])
def test_every_attack_gives_candidates_in_ball_and_box(member: str, norm: Norm) -> None:
    if "BrendelBethge" in member and not os.environ.get("BENCHBENCH_EXHAUSTIVE"):
        pytest.skip("Foolbox compiles it for a minute: BENCHBENCH_EXHAUSTIVE=1")
    attack = foolbox_attack(member=member, **({"steps": 5} if "steps" in parameters_of(member) else {}))
    problem = toy_attack_problem(norm, hardest=0.9)
    kept = problem.images.clone()
    with frozen(problem.model):
        first, second = (
            attack.perturb(
                problem.model,
                problem.images,
                problem.labels,
                threat=problem.threat,
                generator=KeyedGenerator(1, torch.arange(9)),
            )
            for _ in range(2)
        )
    assert torch.equal(first, second)
    assert torch.equal(problem.images, kept)
    assert (first.shape, first.dtype, first.requires_grad) == (kept.shape, torch.float32, False)
    assert bool(first.isfinite().all())
    assert 0.0 <= float(first.min()) <= float(first.max()) <= 1.0
    assert float(problem.threat.distance(first, kept).max()) <= problem.threat.epsilon * (1 + 1e-5)


@pytest.mark.parametrize("member", ["BoundaryAttack", "HopSkipJumpAttack", "PointwiseAttack"])
def test_image_without_an_adversarial_start_is_returned(member: str) -> None:
    images = torch.full((2, 1, 4, 4), 0.1)
    model, labels = FirstClassOnly().eval(), torch.tensor([0, 0])
    attack = foolbox_attack(member=member)
    threat, generator = Threat(norm="l2", epsilon=1.0), KeyedGenerator(0, torch.arange(2))
    assert torch.equal(attack.perturb(model, images, labels, threat=threat, generator=generator), images)


class Bright(nn.Module):
    """Class 1 for images of a mean above 0.9, which no noise has; else 0."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.zeros(len(images)), images.flatten(1).mean(1) - 0.9], dim=1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("member", ["BoundaryAttack", "HopSkipJumpAttack", "PointwiseAttack"])
def test_attack_from_another_image_gets_through_where_noise_is_no_start(member: str) -> None:
    model, images, labels = Bright().eval(), torch.full((3, 1, 4, 4), 0.5), torch.tensor([0, 0, 0])
    threat, starts = Threat(norm="l2", epsilon=1.9), torch.stack([torch.ones(1, 4, 4), images[1], torch.ones(1, 4, 4)])
    options = {} if member == "PointwiseAttack" else {"steps": 20}
    blended, begun = foolbox_attack(member=member, **options), foolbox_from_images(member=member, **options)
    assert begun.takes_starts
    assert not blended.takes_starts

    def fooled(attack: FoolboxAttack, **given: torch.Tensor) -> list[int]:
        generator = KeyedGenerator(0, torch.arange(3))
        with frozen(model):
            found = attack.perturb(model, images, labels, threat=threat, generator=generator, **given)
        return model(found).argmax(dim=1).tolist()

    assert fooled(blended) == [0, 0, 0]
    assert fooled(begun, starts=starts) == [1, 0, 1]  # the second one has no start
    assert fooled(begun) == [0, 0, 0]  # a host that gives none


def test_family_from_images_has_the_attacks_that_need_a_start() -> None:
    assert boundary_members() == tuple(sorted(_NEED_STARTS))
    with pytest.raises(OptionError, match="foolbox:LinfPGD needs no start"):
        foolbox_from_images(member="LinfPGD")


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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("member", ["NewtonFoolAttack", "VirtualAdversarialAttack"])
def test_image_is_returned_where_foolbox_divides_by_a_gradient_of_zero(member: str) -> None:
    images = torch.full((2, 1, 4, 4), 0.5)
    attack = foolbox_attack(member=member, steps=2)
    threat, generator = Threat(norm="l2", epsilon=1.0), KeyedGenerator(0, torch.arange(2))
    found = attack.perturb(FirstClassOnly().eval(), images, torch.tensor([0, 0]), threat=threat, generator=generator)
    assert bool(found.isfinite().all())


def test_genetic_attack_aims_at_the_likeliest_wrong_class() -> None:
    problem = toy_attack_problem("linf", hardest=0.9)
    attack = foolbox_attack(member="GenAttack", steps=100)
    generator = KeyedGenerator(1, torch.arange(9))
    found = attack.perturb(problem.model, problem.images, problem.labels, threat=problem.threat, generator=generator)
    fooled = problem.model(found).argmax(dim=1) != problem.labels
    assert bool(fooled[0])


def test_hop_skip_jump_shrinks_the_norm_of_the_threat() -> None:
    assert norms_of("HopSkipJumpAttack") == ("linf", "l2")
    for norm in norms_of("HopSkipJumpAttack"):
        problem = toy_attack_problem(norm, hardest=0.9)
        attack = foolbox_attack(member="HopSkipJumpAttack", steps=10)
        generator = KeyedGenerator(1, torch.arange(9))
        found = attack.perturb(
            problem.model, problem.images, problem.labels, threat=problem.threat, generator=generator
        )
        fooled = problem.model(found).argmax(dim=1) != problem.labels
        assert int(fooled[:4].sum()) >= 3
        assert not bool(fooled[-1])


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
        ({"member": "L0FMNAttack"}, "it bounds the number of pixels"),
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
