"""Auto-PGD: its schedule, its losses, exact distances, and that no example depends on the others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.autoattack.apgd import Apgd, sphere_start
from benchbench.builtin.attacks.autoattack.climb import Climb, _adapt, _State, checkpoints, dlr, objective, targeted_dlr
from benchbench.builtin.attacks.margins import margin
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.contract import KeyedGenerator, Norm, OptionError, Threat, frozen
from benchbench.testing import LinearToy, check_attack, smooth_toy, toy_attack_problem

LOSSES: tuple[Literal["ce", "dlr", "dlr-targeted"], ...] = ("ce", "dlr", "dlr-targeted")


def paper_checkpoints(steps: int) -> list[int]:
    """w_j = ceil(p_j steps) in exact hundredths: p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)."""
    before, now = 0, 22
    marks = []
    while now <= 100:
        marks.append(math.ceil(now * steps / 100))
        before, now = now, now + max(now - before - 3, 6)
    return marks


@pytest.mark.parametrize("steps", [100, 200, 1000])
def test_checkpoints_are_those_of_the_paper(steps: int) -> None:
    assert list(checkpoints(steps)) == paper_checkpoints(steps)


@pytest.mark.parametrize("steps", [1, 2, 7, 20, 33])
def test_checkpoints_of_short_runs_rise_and_stay_within_the_run(steps: int) -> None:
    marks = checkpoints(steps)
    assert marks[0] >= 1
    assert marks[-1] <= steps
    assert all(later > earlier for earlier, later in itertools.pairwise(marks))


class Recorder(nn.Module):
    """A model of two logits on one pixel that remembers what it saw; `rise` takes the inputs and how often it was asked."""

    def __init__(self, rise: Callable[[Tensor, int], Tensor]) -> None:
        super().__init__()
        self.rise = rise
        self.seen: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen.append(inputs.detach().clone())
        rise = self.rise(inputs, len(self.seen))[:, 0]
        return torch.stack([torch.zeros_like(rise), rise - 1.0], dim=1)

    def moves(self) -> list[float]:
        return [float((later - earlier).abs()) for earlier, later in itertools.pairwise(self.seen)]


def climbed(rise: Callable[[Tensor, int], Tensor], steps: int) -> Recorder:
    """Auto-PGD from 0.5 within 0.1."""
    model = Recorder(rise)
    images, labels = torch.full((1, 1), 0.5), torch.zeros(1, dtype=torch.int64)
    Climb(model, objective("dlr"), threat=Threat(epsilon=0.1), steps=steps).run(images, labels, 1 - labels, images)
    return model


def peak(inputs: Tensor, _: int) -> Tensor:
    return -(inputs - 0.51).square()


def test_the_step_size_halves_at_checkpoints_where_the_loss_oscillates() -> None:
    moves = climbed(peak, 100).moves()
    assert len(moves) == 100
    assert moves[0] == pytest.approx(0.1)  # a first step of 2 epsilon ends on the ball's surface
    assert max(moves[1:22]) > 0.05  # overshooting the peak at 0.01
    assert max(moves[93:]) < 2.0 * 0.1 / 2**6  # at least six of the first seven checkpoints halved


def test_steady_progress_keeps_the_step_size() -> None:
    def ever_better(inputs: Tensor, asked: int) -> Tensor:
        return 1e-3 * asked + 1e-6 * (-1) ** asked * inputs  # and the gradient's sign changes, so that steps show

    moves = climbed(ever_better, 100).moves()
    assert min(moves[90:]) > 0.08


def test_the_best_iterate_is_returned_to_when_the_step_size_halves() -> None:
    looked = torch.cat(climbed(peak, 100).seen)[:, 0]
    best = looked[:23][(looked[:23] - 0.51).abs().argmin()]
    assert best != looked[22]
    ahead = (best + 0.1 * torch.sign(0.51 - best)).clamp(0.4, 0.6)  # half of 2 epsilon
    expected = best + 0.75 * (ahead - best) + 0.25 * (best - looked[21])
    torch.testing.assert_close(looked[23], expected.clamp(0.4, 0.6))


def test_conditions_of_the_checkpoint_are_those_of_algorithm_1() -> None:
    rises = [2.0, 3.0, 4.0, 4.0, 4.0, 4.0]  # of four steps: three are exactly rho
    halved = [True, True, True, False, False, True]
    improved = [True, True, True, False, True, False]
    rows = torch.arange(6)
    current, best, gradient, best_gradient = (value + rows[:, None] for value in (0.0, 10.0, 20.0, 30.0))
    state = _State(
        rows=rows,
        images=current,
        labels=rows,
        targets=rows,
        current=current,
        previous=current,
        gradient=gradient,
        loss=torch.zeros(6),
        best=best,
        best_gradient=best_gradient,
        best_loss=torch.ones(6),
        best_loss_at_check=1.0 - torch.tensor(improved).float(),
        step_size=torch.full((6,), 0.2),
        halved=torch.tensor(halved),
        rises=torch.tensor(rises),
        strongest=current,
        margin=torch.zeros(6),
        fooled=torch.zeros(6, dtype=torch.bool),
    )
    _adapt(state, steps=4)
    expected = torch.tensor([True, True, False, True, False, False])
    assert torch.equal(state.halved, expected)
    torch.testing.assert_close(state.step_size, torch.where(expected, 0.1, 0.2))
    assert torch.equal(state.current, torch.where(expected[:, None], best, current))
    assert torch.equal(state.gradient, torch.where(expected[:, None], best_gradient, gradient))
    assert torch.equal(state.best_loss_at_check, torch.ones(6))
    assert not state.rises.any()


def test_dlr_equals_its_definition() -> None:
    logits = KeyedGenerator(1, torch.arange(20)).normal(6).double()
    labels = torch.arange(20) % 6
    targets = (labels + 1 + torch.arange(20) % 5) % 6
    for row in range(20):
        z, y, t = logits[row], int(labels[row]), int(targets[row])
        first, _, third, fourth = sorted(z.tolist(), reverse=True)[:4]
        other = max(float(z[i]) for i in range(6) if i != y)
        assert float(dlr(logits, labels)[row]) == pytest.approx(-(float(z[y]) - other) / (first - third))
        expected = -(float(z[y]) - float(z[t])) / (first - 0.5 * (third + fourth))
        assert float(targeted_dlr(logits, labels, targets)[row]) == pytest.approx(expected)


@pytest.mark.parametrize("classes", [2, 3])
def test_dlr_with_few_classes_falls_back_as_documented(classes: int) -> None:
    logits = KeyedGenerator(1, torch.arange(8)).normal(classes)
    labels = logits.argmin(dim=1)
    targets = logits.argmax(dim=1)
    largest, *others = logits.sort(dim=1, descending=True).values.unbind(1)
    span, targeted_span = torch.ones(8), torch.ones(8)
    if classes == 3:
        span, targeted_span = largest - others[1], largest - (others[0] + others[1]) / 2
    torch.testing.assert_close(dlr(logits, labels), margin(logits, labels) / span)
    torch.testing.assert_close(targeted_dlr(logits, labels, targets), margin(logits, labels) / targeted_span)


def test_dlr_does_not_depend_on_the_scale_of_the_logits() -> None:
    logits = KeyedGenerator(1, torch.arange(8)).normal(5)
    labels = torch.arange(8) % 5
    torch.testing.assert_close(dlr(1e4 * logits + 7.0, labels), dlr(logits, labels), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_apgd_keeps_the_contract(loss: Literal["ce", "dlr", "dlr-targeted"]) -> None:
    check_attack(Apgd(loss=loss, steps=30), norms=("linf", "l2"), classes=(2, 3), slack=1.01)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", LOSSES)
def test_apgd_succeeds_just_beyond_the_exact_distance_and_not_before(
    norm: Norm, loss: Literal["ce", "dlr", "dlr-targeted"]
) -> None:
    model, images, labels = linear_problem()
    distances = model.distance(images, labels, norm)
    generator = KeyedGenerator(9, torch.arange(len(images)))
    for row in range(len(images)):
        one = torch.tensor([row])
        for factor, fooled in ((1.01, True), (0.99, False)):
            threat = Threat(norm=norm, epsilon=factor * float(distances[row]), lower=-9.0, upper=9.0)
            with frozen(model):
                candidates = Apgd(loss=loss).perturb(
                    model, images[one], labels[one], threat=threat, generator=generator.take(one)
                )
            assert bool(margin(model(candidates), labels[one]) > 0) == fooled


def linear_problem() -> tuple[LinearToy, Tensor, Tensor]:
    draws = KeyedGenerator(4, torch.arange(4))
    model = LinearToy(KeyedGenerator(5, torch.arange(6)).normal(25)).eval()
    images = draws.uniform(25, low=0.3, high=0.7)
    return model, images, model(images).argmax(dim=1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_starts_lie_on_the_sphere(norm: Norm) -> None:
    images = torch.full((5, 3, 4, 4), 0.5)
    threat = Threat(norm=norm, epsilon=0.3)
    start = sphere_start(images, threat=threat, generator=KeyedGenerator(1, torch.arange(5)))
    torch.testing.assert_close(threat.distance(start, images), torch.full((5,), 0.3))


def test_fooled_examples_leave_and_misclassified_ones_are_not_touched() -> None:
    problem = toy_attack_problem("linf", hardest=0.9)
    seen: list[int] = []
    problem.model.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
    labels = problem.labels.clone()
    labels[0] = 1 - labels[0]
    with frozen(problem.model):
        candidates = Apgd().perturb(
            problem.model, problem.images, labels, threat=problem.threat, generator=KeyedGenerator(1, torch.arange(9))
        )
    assert torch.equal(candidates[0], problem.images[0])
    assert seen[:2] == [9, 8]
    assert seen[-2] == 1  # the example out of reach is the only one to be pursued to the end
    assert sum(seen) < 9 + 8 * 6 + 100 + 8


def test_apgd_is_no_weaker_than_pgd_10() -> None:
    draws = KeyedGenerator(21, torch.arange(60))
    model = smooth_toy((1, 6, 6), 6).eval()
    images = draws.uniform(1, 6, 6)
    labels = model(images).argmax(dim=1)
    threat = Threat(epsilon=0.08)
    with frozen(model):
        by_pgd, by_apgd = (
            int(
                (margin(model(attack.perturb(model, images, labels, threat=threat, generator=draws)), labels) > 0).sum()
            )
            for attack in (Pgd(), Apgd())
        )
    assert 0 < by_pgd <= by_apgd < 60


def test_bad_options_are_refused_together() -> None:
    with pytest.raises(OptionError, match=r"loss must be.*steps must be"):
        Apgd(loss="mse", steps=0)  # type: ignore[arg-type]


def test_l1_is_refused() -> None:
    with pytest.raises(OptionError, match="apgd works in linf or l2"):
        Apgd().perturb(
            smooth_toy((1, 2, 2), 2),
            torch.zeros(1, 1, 2, 2),
            torch.zeros(1, dtype=torch.int64),
            threat=Threat(norm="l1", epsilon=1.0),
            generator=KeyedGenerator(1, torch.arange(1)),
        )
