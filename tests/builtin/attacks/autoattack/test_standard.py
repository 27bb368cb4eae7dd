"""AutoAttack: the sequence of attacks, few classes, and parity with torchattacks, which wraps the authors' code."""

from __future__ import annotations

import warnings
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.autoattack.apgd import Apgd
from benchbench.builtin.attacks.autoattack.boundary import BoundaryWalk
from benchbench.builtin.attacks.autoattack.climb import Climb, objective
from benchbench.builtin.attacks.autoattack.standard import AutoAttack
from benchbench.builtin.attacks.margins import margin
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.contract import Attack, KeyedGenerator, Norm, OptionError, Threat, frozen
from benchbench.registry import load_registry
from benchbench.testing import smooth_toy, toy_attack_problem

QUICK = AutoAttack(steps=20, targets=9, queries=60)


def robust(model: nn.Module, candidates: Tensor, labels: Tensor) -> Tensor:
    return margin(model(candidates), labels) < 0


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A small network that learned scikit-learn's digits, and 80 digits that it has not seen."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images / 16.0, dtype=torch.float32)[:, None]
    labels = torch.tensor(digits.target, dtype=torch.int64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10)
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(150):
            rows = torch.randint(1200, (64,))
            noisy = images[rows] + 0.1 * torch.randn(64, 1, 8, 8).sign()
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(noisy.clamp(0.0, 1.0)), labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model.eval().requires_grad_(False), images[1200:1280], labels[1200:1280]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_autoattack_succeeds_just_beyond_the_exact_distance_and_not_before(norm: Norm) -> None:
    problem = toy_attack_problem(norm, hardest=1.0)
    generator = KeyedGenerator(2, torch.arange(9))
    for factor in (1.01, 0.99):
        for row in range(9):
            one = torch.tensor([row])
            threat = Threat(norm=norm, epsilon=factor * float(problem.distances[row]))
            with frozen(problem.model):
                candidates = QUICK.perturb(
                    problem.model,
                    problem.images[one],
                    problem.labels[one],
                    threat=threat,
                    generator=generator.take(one),
                )
            assert bool(robust(problem.model, candidates, problem.labels[one])) == (factor < 1)


def test_each_attack_sees_only_what_the_ones_before_left_standing(
    trained: tuple[nn.Module, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images, labels = trained
    standing = {"clean": robust(model, images, labels)}
    genuine = AutoAttack.attacks(QUICK)

    class Spy:
        def __init__(self, name: str, attack: Attack) -> None:
            self.name, self.attack = name, attack

        def perturb(
            self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
        ) -> Tensor:
            before = list(standing.values())[-1]
            assert torch.equal(generator.integers(10**9), reference.child(self.name).take(before).integers(10**9))
            assert len(images) == int(before.sum())
            candidates = self.attack.perturb(
                model, images, labels, threat=threat, generator=reference.child(self.name).take(before)
            )
            after = before.clone()
            after[before] = robust(model, candidates, labels)
            standing[self.name] = after
            return candidates

    monkeypatch.setattr(AutoAttack, "attacks", lambda _: {name: Spy(name, a) for name, a in genuine.items()})
    reference = KeyedGenerator(5, torch.arange(80))
    candidates = QUICK.perturb(model, images, labels, threat=Threat(epsilon=0.1), generator=reference)
    assert list(standing) == ["clean", "apgd-ce", "apgd-t", "fab-t", "square"]
    assert torch.equal(robust(model, candidates, labels), standing["square"])
    assert 0 < int(standing["square"].sum()) < int(standing["clean"].sum())


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 0.5)])
def test_autoattack_is_no_weaker_than_pgd_10(
    trained: tuple[nn.Module, Tensor, Tensor], norm: Norm, epsilon: float
) -> None:
    model, images, labels = trained
    threat = Threat(norm=norm, epsilon=epsilon)
    generator = KeyedGenerator(5, torch.arange(80))
    by_pgd, by_autoattack = (
        robust(model, attack.perturb(model, images, labels, threat=threat, generator=generator), labels)
        for attack in (Pgd(), QUICK)
    )
    assert not bool((by_autoattack & ~by_pgd).any())
    assert 0 < int(by_autoattack.sum()) < int(robust(model, images, labels).sum())


def test_no_example_depends_on_the_others(trained: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = trained
    threat = Threat(epsilon=0.1)
    generator = KeyedGenerator(5, torch.arange(80))
    together = QUICK.perturb(model, images, labels, threat=threat, generator=generator)
    for rows in (torch.tensor([17]), torch.arange(79, 40, -3)):
        apart = QUICK.perturb(model, images[rows], labels[rows], threat=threat, generator=generator.take(rows))
        assert torch.equal(robust(model, apart, labels[rows]), robust(model, together[rows], labels[rows]))


@pytest.mark.parametrize("classes", [2, 3, 4, 12])
def test_targets_adapt_to_the_number_of_classes(classes: int) -> None:
    model = smooth_toy((1, 4, 4), classes).eval()
    generator = KeyedGenerator(5, torch.arange(3))
    images = generator.uniform(1, 4, 4)
    labels = model(images).argmax(dim=1)
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
    with frozen(model):
        Apgd(loss="dlr-targeted", steps=1).perturb(
            model, images, labels, threat=Threat(epsilon=1e-6), generator=generator
        )
    assert len(seen) == 1 + min(9, classes - 1) * 3  # the clean images; start, step and final look for each target


def test_a_model_without_slope_is_left_alone() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 5)).eval()
    nn.init.zeros_(model[1].weight)
    with torch.no_grad():
        model[1].bias.copy_(torch.arange(5.0))
    images, labels = torch.full((2, 1, 4, 4), 0.5), torch.full((2,), 4)
    with frozen(model):
        for norm in ("linf", "l2"):
            threat = Threat(norm=norm, epsilon=0.1)
            candidates = QUICK.perturb(
                model, images, labels, threat=threat, generator=KeyedGenerator(5, torch.arange(2))
            )
            assert bool(candidates.isfinite().all())
            assert float(threat.distance(candidates, images).max()) <= 0.1 + 1e-6


def test_the_standard_version_has_the_published_numbers() -> None:
    registry = load_registry()
    component = registry.resolve("attack", "autoattack", {})
    assert component.options == {"steps": 100, "targets": 9, "queries": 5000}
    assert registry.make("attack", component) == AutoAttack()
    assert {name: registry.resolve("attack", name, {}).options for name in ("apgd", "fab", "square")} == {
        "apgd": {"loss": "ce", "steps": 100, "restarts": 1, "targets": 9},
        "fab": {"steps": 100, "targets": 9, "restarts": 1},
        "square": {"queries": 5000},
    }


def test_bad_options_are_refused_together() -> None:
    with pytest.raises(OptionError, match=r"steps must be.*targets must be.*queries must be"):
        AutoAttack(steps=0, targets=0, queries=0)


def peer() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torchattacks", reason="torchattacks, the peer, is not installed")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_every_iterate_of_apgd_equals_the_peers(norm: Norm, loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torchattacks = peer()
    model = smooth_toy((1, 5, 5), 6).eval().requires_grad_(False)
    generator = KeyedGenerator(5, torch.arange(4))
    images = generator.uniform(1, 5, 5)
    labels = model(images).argmax(dim=1)
    threat = Threat(norm=norm, epsilon=0.01 if norm == "linf" else 0.05)
    noise = generator.uniform(1, 5, 5)
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach().clone()))
    monkeypatch.setattr(torch, "rand", lambda *_, **__: noise)
    monkeypatch.setattr(torch, "randn", lambda *_, **__: noise)
    attack = torchattacks.APGD(model, norm="Linf" if norm == "linf" else "L2", eps=threat.epsilon, steps=100, loss=loss)
    attack.attack_single_run(images, labels)
    peers = torch.stack(seen)
    seen.clear()
    Climb(model, objective(loss), threat=threat, steps=100).run(images, labels, labels, peers[0])  # type: ignore[arg-type]
    assert len(peers) == len(seen) == 101  # nothing is fooled, so nothing leaves
    torch.testing.assert_close(torch.stack(seen), peers, rtol=0.0, atol=1e-3 * threat.epsilon)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_iterate_of_fab_equals_the_peers_and_the_final_search_comes_closer(norm: Norm) -> None:
    torchattacks = peer()
    model = smooth_toy((1, 5, 5), 6).eval().requires_grad_(False)
    images = KeyedGenerator(5, torch.arange(4)).uniform(1, 5, 5)
    logits = model(images)
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach().clone()))
    name = "Linf" if norm == "linf" else "L2"
    attack = torchattacks.FAB(model, norm=name, eps=0.1, steps=30, multi_targeted=True, n_classes=6)
    attack.target_class = 2
    threat = Threat(norm=norm, epsilon=0.1)
    theirs = threat.distance(attack.attack_single_run_targeted(images, logits.argmax(dim=1)), images)
    peers = torch.stack(seen[2:])  # it first asks twice about the clean images
    seen.clear()
    likeliest = logits.argsort(dim=1, descending=True)
    walk = BoundaryWalk(model, threat=threat, steps=30, enough=0.0)
    closest = walk.run(images, likeliest[:, 0], likeliest[:, 1], images)
    assert len(peers) == 60  # for each step a look at the slope and one at where it leads
    torch.testing.assert_close(torch.stack(seen[:60]), peers, rtol=0.0, atol=1e-5)
    assert bool((closest.distances < theirs).all())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 0.5)])
def test_verdicts_equal_the_peers(trained: tuple[nn.Module, Tensor, Tensor], norm: Norm, epsilon: float) -> None:
    torchattacks = peer()
    model, images, labels = trained
    setting = {"norm": "Linf" if norm == "linf" else "L2", "eps": epsilon}
    sequence = (
        torchattacks.APGD(model, steps=100, **setting),
        torchattacks.APGDT(model, steps=100, n_classes=10, **setting),
        torchattacks.FAB(model, steps=100, multi_targeted=True, n_classes=10, **setting),
        torchattacks.Square(model, n_queries=1000, resc_schedule=False, **setting),
    )
    theirs = robust(model, images, labels)
    for attack in sequence:
        rows = theirs.nonzero()[:, 0]
        theirs[rows] = robust(model, attack(images[rows], labels[rows]), labels[rows])
    candidates = AutoAttack(queries=1000).perturb(
        model, images, labels, threat=Threat(norm=norm, epsilon=epsilon), generator=KeyedGenerator(5, torch.arange(80))
    )
    assert 8 < int(theirs.sum()) < 72
    assert int((robust(model, candidates, labels) != theirs).sum()) <= 1
