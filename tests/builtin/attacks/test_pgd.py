"""PGD against foolbox, exact distances, and the contract."""

from __future__ import annotations

import eagerpy
import pytest
import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.foolbox_attack import import_foolbox
from benchbench.builtin.attacks.margins import margin
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.contract import NORMS, KeyedGenerator, Norm, OptionError, Threat, frozen
from benchbench.testing.attacks import check_attack
from benchbench.testing.toys import LinearToy, smooth_toy

THREAT = Threat(epsilon=0.1)


def problem(count: int = 12, classes: int = 5) -> tuple[nn.Module, Tensor, Tensor, KeyedGenerator]:
    draws = KeyedGenerator(11, torch.arange(count))
    model = smooth_toy((1, 6, 6), classes).eval()
    images = draws.uniform(1, 6, 6)
    return model, images, model(images).argmax(dim=1), draws.child("attack")


def test_pgd_keeps_the_contract_in_every_norm() -> None:
    check_attack(Pgd(), norms=NORMS, classes=(2, 1000))


def test_pgd_that_keeps_the_best_of_two_restarts_keeps_the_contract() -> None:
    check_attack(Pgd(restarts=2, keep="best"), norms=("linf",), classes=(9,), slack=1.01)


@pytest.mark.parametrize(
    ("norm", "foolbox_class"),
    [("linf", "LinfProjectedGradientDescentAttack"), ("l2", "L2ProjectedGradientDescentAttack")],
)
def test_pgd_equals_foolbox_from_the_same_start(norm: Norm, foolbox_class: str) -> None:
    foolbox = import_foolbox()
    model, images, labels, generator = problem()
    threat = Threat(norm=norm, epsilon=0.1 if norm == "linf" else 0.6)
    attack = getattr(foolbox.attacks, foolbox_class)(rel_stepsize=0.2, steps=10, random_start=False)
    with frozen(model):
        peer = attack.run(foolbox.PyTorchModel(model, bounds=(0, 1)), images, labels, epsilon=threat.epsilon)
        ours = Pgd(random_start=False).perturb(model, images, labels, threat=threat, generator=generator)
    assert float((ours - images).abs().max()) > 0.05
    torch.testing.assert_close(ours, peer, rtol=0, atol=1e-6)


def test_pgd_equals_foolbox_from_the_same_random_start(monkeypatch: pytest.MonkeyPatch) -> None:
    foolbox = import_foolbox()
    model, images, labels, generator = problem()
    start = images + KeyedGenerator(5, torch.arange(len(images))).uniform(1, 6, 6, low=-0.1, high=0.1)
    attack = foolbox.attacks.LinfPGD(rel_stepsize=0.2, steps=10)
    attack.get_random_start = lambda centres, epsilon: eagerpy.astensor(start)
    monkeypatch.setattr("benchbench.builtin.attacks.pgd.uniform_start", lambda *_, **__: start.clamp(0, 1))
    with frozen(model):
        peer = attack.run(foolbox.PyTorchModel(model, bounds=(0, 1)), images, labels, epsilon=0.1)
        ours = Pgd().perturb(model, images, labels, threat=THREAT, generator=generator)
    torch.testing.assert_close(ours, peer, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1, 7, 12])
def test_candidates_do_not_depend_on_the_batch_size(size: int) -> None:
    model, images, labels, generator = problem()
    with frozen(model):
        together = Pgd().perturb(model, images, labels, threat=THREAT, generator=generator)
        pieces = [
            Pgd().perturb(model, images[rows], labels[rows], threat=THREAT, generator=generator.take(rows))
            for rows in torch.arange(len(images)).split(size)
        ]
        apart = torch.cat(pieces)
    torch.testing.assert_close(apart, together, rtol=0, atol=1e-6)
    assert torch.equal(model(apart).argmax(1), model(together).argmax(1))


@pytest.mark.parametrize(("factor", "fooled"), [(1.01, True), (0.99, False)])
def test_pgd_succeeds_just_beyond_the_exact_distance_and_fails_just_within(factor: float, fooled: bool) -> None:
    draws = KeyedGenerator(2, torch.arange(8))
    weight = KeyedGenerator(3, torch.arange(4)).normal(30)
    images = draws.uniform(30, low=0.4, high=0.6)
    model = LinearToy(weight).eval()
    labels = model(images).argmax(dim=1)
    for row in range(len(images)):
        distance = float(model.distance(images, labels, "linf")[row])
        threat = Threat(epsilon=factor * distance, lower=-10.0, upper=10.0)
        one = torch.tensor([row])
        with frozen(model):
            candidate = Pgd(restarts=3, steps=40, keep="best").perturb(
                model, images[one], labels[one], threat=threat, generator=draws.take(one)
            )
        assert bool(model(candidate).argmax(dim=1) != labels[one]) == fooled


def test_best_iterate_and_more_restarts_never_weaken_the_attack() -> None:
    model, images, labels, generator = problem(count=40)

    def strength(attack: Pgd) -> Tensor:
        with frozen(model):
            candidates = attack.perturb(model, images, labels, threat=THREAT, generator=generator)
            return margin(model(candidates), labels)

    last, best, many = strength(Pgd()), strength(Pgd(keep="best")), strength(Pgd(keep="best", restarts=3))
    assert bool((best >= last - 1e-5).all())
    assert bool((many >= best - 1e-5).all())
    assert bool((many > best).any())


def test_an_epsilon_of_zero_returns_the_images() -> None:
    model, images, labels, generator = problem()
    with frozen(model):
        candidates = Pgd().perturb(model, images, labels, threat=Threat(epsilon=0.0), generator=generator)
    assert torch.equal(candidates, images)


def test_all_bad_options_are_reported_together() -> None:
    with pytest.raises(
        OptionError, match=r"steps must be at least 1, got 0; step_ratio must be above 0, got 0.0; restarts"
    ):
        Pgd(steps=0, step_ratio=0.0, restarts=0)
