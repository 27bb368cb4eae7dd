"""Recorded steps against steps that are simply taken: equal candidates, equal counts.

On a CPU a trace of the kernels stands in for a CUDA graph: like one, it replays what was done to which tensors, and no Python.
"""

from __future__ import annotations

import pytest
import torch
from kernel_traces import recorded, trace
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchbench.builtin.architectures.cnn import make_cnn2
from benchbench.builtin.ascent import ascend
from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.contract import NORMS, Attack, KeyedGenerator, Norm, Threat, frozen
from benchbench.evaluation.supervision import QueryCount, counting
from benchbench.kernels.graphs import recording, repeat

ROWS = torch.arange(6)


@pytest.fixture
def problem() -> tuple[nn.Module, Tensor, Tensor]:
    model = make_cnn2(input_shape=(1, 20, 20), classes=4).eval()
    for number, parameter in enumerate(model.parameters()):
        parameter.data = KeyedGenerator(number, torch.arange(len(parameter))).normal(*parameter.shape[1:]) / 8
    images = KeyedGenerator(99, ROWS).uniform(1, 20, 20)
    with torch.no_grad():
        return model, images, model(images).argmax(dim=1)


def attacked(attack: Attack, problem: tuple[nn.Module, Tensor, Tensor], norm: Norm) -> tuple[Tensor, QueryCount]:
    model, images, labels = problem
    threat = Threat(norm=norm, epsilon={"linf": 0.05, "l2": 0.5, "l1": 2.0}[norm])
    with frozen(model), counting(model) as count:
        found = attack.perturb(model, images, labels, threat=threat, generator=KeyedGenerator(3, ROWS))
    return found, count


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", [Pgd(steps=7), MultiTargeted(steps=5)], ids=["pgd", "mt"])
def test_recorded_attacks_find_the_same_candidates_and_count_the_same(attack: Attack, norm: Norm, problem) -> None:
    expected, counted = attacked(attack, problem, norm)
    recorded.clear()
    with recording(trace):
        found, count = attacked(attack, problem, norm)
    assert recorded
    assert torch.equal(found, expected)
    assert (count.forward, count.gradient) == (counted.forward, counted.gradient)


@pytest.mark.parametrize(
    "attack", [Pgd(steps=3), Pgd(steps=9, keep="best"), Pgd(steps=9, restarts=2, keep="best")], ids=str
)
def test_short_runs_and_objectives_that_keep_things_in_python_are_not_recorded(attack: Attack, problem) -> None:
    expected, _ = attacked(attack, problem, "linf")
    recorded.clear()
    with recording(trace):
        found, _ = attacked(attack, problem, "linf")
    assert not recorded
    assert torch.equal(found, expected)


def test_nothing_is_recorded_unless_asked_for_nor_by_cuda_graphs_on_a_cpu(problem) -> None:
    taken = []
    with recording():
        repeat(lambda: taken.append(1), 5, device=torch.device("cpu"), recordable=True)
    repeat(lambda: taken.append(1), 5, device=torch.device("cpu"), recordable=True)
    assert len(taken) == 10


def test_the_stand_in_replays_kernels_and_not_python() -> None:
    buffer, calls = torch.zeros(2), []

    def step() -> None:
        calls.append(1)
        buffer.add_(1.0)

    replay = trace(step)
    assert torch.equal(buffer, torch.zeros(2))  # recording takes no step
    seen = len(calls)
    replay()
    replay()
    assert torch.equal(buffer, torch.full((2,), 2.0))
    assert len(calls) == seen


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("norm", NORMS)
def test_cuda_graphs_find_the_same_candidates(norm: Norm, problem) -> None:
    model, images, labels = (part.cuda() for part in problem)
    threat = Threat(norm=norm, epsilon={"linf": 0.05, "l2": 0.5, "l1": 2.0}[norm])

    def run() -> Tensor:
        with frozen(model):
            return ascend(
                lambda candidates: cross_entropy(model(candidates), labels, reduction="sum"),
                images,
                images,
                threat=threat,
                steps=10,
                step_size=threat.epsilon / 5,
                recordable=True,
            )

    expected = run()
    with recording():
        found = run()
    torch.testing.assert_close(found, expected)
