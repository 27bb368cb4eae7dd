"""The attacks side by side: on linear models they leave standing what is exactly robust, and they take no needless pass."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import torch
from linear_problems import Nearest, largest_rise, linear_problem
from torch import nn

from benchbench.builtin import offers
from benchbench.builtin.attacks.autoattack.apgd import Apgd
from benchbench.builtin.attacks.autoattack.climb import dlr, targeted_dlr
from benchbench.builtin.attacks.autoattack.fab import Fab
from benchbench.builtin.attacks.autoattack.square import Square
from benchbench.builtin.attacks.autoattack.standard import AutoAttack
from benchbench.builtin.attacks.foolbox_attack import import_foolbox, members
from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.contract import Attack, KeyedGenerator, Norm, Threat, frozen
from benchbench.evaluation.supervision import counting
from benchbench.registry import Registry, load_registry
from benchbench.testing import LinearToy

CLASSES = (2, 3, 4, 10)


@dataclass(frozen=True, kw_only=True)
class Row:
    """An attack and where it reaches the exact answer.

    Attributes:
        every_class: whether it tries one class after the other, so that it reaches one that ranks last. The others climb a loss
            that the runner-up dominates, by design: with more than two classes they are held to problems where it is in reach.
        options: what makes steps few for the test's sake, or many enough to cross the ball from any start.
    """

    attack: str
    norms: tuple[Norm, ...]
    every_class: bool = False
    options: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.attack, *map(str, self.options.values())])


BALLS: tuple[Norm, ...] = ("linf", "l2")
TABLE = (
    Row(attack="pgd", norms=("linf", "l2", "l1")),
    Row(attack="pgd", norms=BALLS, options={"keep": "best", "restarts": 2}),
    Row(attack="pgd-10", norms=BALLS),
    Row(attack="mt", norms=("linf", "l2", "l1"), every_class=True),
    Row(attack="mt", norms=BALLS, every_class=True, options={"variant": "released"}),
    Row(attack="mt-20", norms=BALLS, every_class=True),
    Row(attack="apgd", norms=BALLS, options={"steps": 20}),
    Row(attack="apgd", norms=BALLS, options={"loss": "dlr", "steps": 20}),
    Row(attack="apgd", norms=BALLS, every_class=True, options={"loss": "dlr-targeted", "steps": 20}),
    Row(attack="fab", norms=BALLS, every_class=True, options={"steps": 20}),
    Row(attack="autoattack", norms=BALLS, every_class=True, options={"steps": 20, "queries": 20}),
    Row(attack="foolbox:LinfDeepFoolAttack", norms=("linf",), every_class=True),
    Row(attack="foolbox:LinfPGD", norms=("linf",), options={"steps": 80}),
    Row(attack="foolbox:LinfAdamPGD", norms=("linf",), options={"steps": 100}),
    Row(attack="foolbox:LinfBasicIterativeAttack", norms=("linf",)),
    Row(attack="foolbox:LinfAdamBasicIterativeAttack", norms=("linf",)),
    Row(attack="foolbox:LinfMomentumIterativeFastGradientMethod", norms=("linf",)),
    Row(attack="foolbox:LinfFastGradientAttack", norms=("linf",)),
    Row(attack="foolbox:LInfFMNAttack", norms=("linf",)),
    Row(attack="foolbox:L2DeepFoolAttack", norms=("l2",), every_class=True),
    Row(attack="foolbox:L2PGD", norms=("l2",), options={"steps": 50, "rel_stepsize": 0.2}),
    Row(attack="foolbox:L2BasicIterativeAttack", norms=("l2",)),
    Row(attack="foolbox:L2AdamBasicIterativeAttack", norms=("l2",)),
    Row(attack="foolbox:L2MomentumIterativeFastGradientMethod", norms=("l2",)),
    Row(attack="foolbox:DDNAttack", norms=("l2",)),
    Row(attack="foolbox:L2FMNAttack", norms=("l2",)),
    Row(attack="foolbox:L1FMNAttack", norms=("l1",)),
    Row(attack="foolbox:SparseL1DescentAttack", norms=("l1",)),
)
_ALONG_THE_GRADIENT = "L1's ball calls for the steepest pixels only, it moves all of them in proportion to their slopes"
SHORT_OF_EXACT: Mapping[str, str] = {
    "L2FastGradientAttack": "one step: what the box cuts off is not made up for by other pixels",
    "L2AdamPGD": "Adam moves all pixels about equally far, which is steepest in L-inf, not in L2",
    "L2CarliniWagnerAttack": "it needs thousands of steps, and at the box's faces its tanh has no slope",
    "NewtonFoolAttack": "it descends the label's probability, which has no slope where the model is sure",
    "VirtualAdversarialAttack": "it climbs the divergence from the clean answer, whatever class that leads to",
    "EADAttack": "it needs thousands of steps",
    "L1BasicIterativeAttack": _ALONG_THE_GRADIENT,
    "L1AdamBasicIterativeAttack": _ALONG_THE_GRADIENT,
    "L1PGD": _ALONG_THE_GRADIENT,
    "L1AdamPGD": _ALONG_THE_GRADIENT,
    "L1FastGradientAttack": _ALONG_THE_GRADIENT,
    "L1MomentumIterativeFastGradientMethod": _ALONG_THE_GRADIENT,
    "L1BrendelBethgeAttack": "Foolbox compiles it for a minute",
    "L2BrendelBethgeAttack": "Foolbox compiles it for a minute",
    "LinfinityBrendelBethgeAttack": "Foolbox compiles it for a minute",
}
ASKS_FOR_GRADIENTS = re.compile(
    "PGD|Gradient|Iterative|FGS?M|DeepFool|DDN|FMN|SparseL1|Carlini|EAD|Newton|Virtual|Bethge"
)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("row", "norm", "classes", "nearest"),
    [
        pytest.param(row, norm, classes, nearest, id=f"{row}-{norm}-{classes}-{nearest}")
        for row in TABLE
        for norm in row.norms
        for classes in CLASSES
        for nearest in ("runner-up", "last")
        if nearest == "runner-up" or row.every_class or classes == 2
    ],
)
@pytest.mark.sampled(3)
def test_robust_accuracy_is_the_exact_one(
    registry: Registry, row: Row, norm: Norm, classes: int, nearest: Nearest
) -> None:
    problem = linear_problem(classes, norm, nearest)
    attack = registry.make("attack", registry.resolve("attack", row.attack, dict(row.options)))
    generator = KeyedGenerator(1, torch.arange(len(problem.labels)))
    with frozen(problem.model):
        candidates = attack.perturb(
            problem.model, problem.images, problem.labels, threat=problem.threat, generator=generator
        )
        found = problem.model(candidates).argmax(dim=1) == problem.labels
    assert 0.0 <= float(candidates.min()) <= float(candidates.max()) <= 1.0
    assert float(problem.threat.distance(candidates, problem.images).max()) <= problem.threat.epsilon * (1.0 + 1e-5)
    assert found.tolist() == problem.robust.tolist()


def test_the_table_has_every_attack_that_asks_for_gradients() -> None:
    tried = {row.attack for row in TABLE}
    offered = {offer.name for offer in offers("attack") if offer.capabilities.needs_gradients and not offer.members}
    assert offered == {name for name in tried if not name.startswith("foolbox:")}
    attacks = import_foolbox().attacks  # some of its classes have several names
    known = {getattr(attacks, name.removeprefix("foolbox:"), None) for name in tried | set(SHORT_OF_EXACT)}
    missing = {name for name in members() if getattr(attacks, name) not in known}
    assert not {name for name in missing if ASKS_FOR_GRADIENTS.search(name)}


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("nearest", ["runner-up", "last"])
def test_half_of_each_kind_of_image_is_robust(classes: int, norm: Norm, nearest: Nearest) -> None:
    problem = linear_problem(classes, norm, nearest)
    assert problem.robust.tolist() == [True] * 12 + [False] * 12
    order = problem.model(problem.images).argsort(dim=1, descending=True)
    assert torch.equal(order[:, 0], problem.labels)
    in_reach = order[0, 1 if nearest == "runner-up" else -1]
    fooled = problem.images.flatten(1)[~problem.robust]
    slopes = problem.model.weight[in_reach] - problem.model.weight[problem.labels[0]]
    rise = largest_rise(slopes, fooled, problem.threat)
    logits = problem.model(fooled).double()
    assert bool((logits[:, in_reach] + rise > logits[:, problem.labels[0]]).all())


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_largest_rise_beats_what_is_drawn_at_random_and_equals_the_dual_norm_without_a_box(norm: Norm) -> None:
    draws = KeyedGenerator(2, torch.arange(500))
    slopes, image = draws.normal(4)[0], torch.tensor([[0.0, 1.0, 0.3, 0.9]])
    threat = Threat(norm=norm, epsilon=0.4)
    candidates = threat.project(image + 0.6 * draws.child("directions").normal(4), image)
    rises = (candidates - image).double() @ slopes.double()
    best = float(largest_rise(slopes, image, threat))
    assert 0.9 * best < float(rises.max()) <= best + 1e-6
    free = largest_rise(slopes, image, Threat(norm=norm, epsilon=0.4, lower=-9.0, upper=9.0))
    toy = LinearToy(torch.stack([torch.zeros(4), slopes]), torch.tensor([1.0, 0.0]))
    needed = toy.distance(torch.zeros(1, 4), torch.tensor([0]), norm)  # for a rise of 1
    assert float(free) == pytest.approx(0.4 / float(needed), rel=1e-6)


@pytest.mark.parametrize("classes", [3, 4, 5])
def test_targeted_dlr_pulls_towards_every_target(classes: int) -> None:
    logits = KeyedGenerator(1, torch.arange(50)).normal(classes)
    labels = logits.argmax(dim=1)
    for rank in range(1, classes):
        targets = logits.argsort(dim=1, descending=True)[:, rank]
        leaf = logits.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(targeted_dlr(leaf, labels, targets).sum(), leaf)
        assert float(slope.gather(1, targets[:, None]).min()) > 0.0


@pytest.mark.parametrize("classes", [3, 4])
def test_no_scaling_of_logits_changes_the_ratios(classes: int) -> None:
    logits = KeyedGenerator(1, torch.arange(8)).normal(classes)
    labels, targets = logits.argmax(dim=1), logits.argmin(dim=1)
    scale = torch.logspace(-3, 4, 8)[:, None]
    torch.testing.assert_close(dlr(scale * logits, labels), dlr(logits, labels))
    torch.testing.assert_close(targeted_dlr(scale * logits, labels, targets), targeted_dlr(logits, labels, targets))


IMAGES = 5
THREAT = Threat(epsilon=0.01)
WRONG = 9  # classes that are not the label
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
    """Nothing fools it, so that nothing stops early: passes are counted on it, as a guard against more work."""
    linear = nn.Linear(16, 1 + WRONG)
    linear.weight.data = KeyedGenerator(0, torch.arange(1 + WRONG)).normal(16)
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
