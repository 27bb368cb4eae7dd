"""Recorded steps against steps that are simply taken: equal candidates, equal counts.

On a CPU a trace of the kernels stands in for a CUDA graph: like one, it replays what was done to which tensors, and no Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from kernel_traces import recorded, trace
from torch import Tensor, nn

from benchbench.builtin.architectures.cnn import make_cnn2
from benchbench.builtin.attacks.multi_targeted import MultiTargeted
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.builtin.metrics.lipschitz import LocalLipschitzness
from benchbench.contract import NORMS, Attack, KeyedGenerator, Norm, Threat, frozen, replayed
from benchbench.contract.seeds import UnknownDrawError
from benchbench.evaluation.supervision import QueryCount, counting
from benchbench.kernels.arithmetic import Precision, precision_of_searches
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
    """Candidates for three batches: of other images and other seeds, all of one shape."""
    model, images, labels = problem
    threat = Threat(norm=norm, epsilon={"linf": 0.05, "l2": 0.5, "l1": 2.0}[norm])
    batches = [(images, labels, ROWS, 3), (images.flip(0), labels.flip(0), ROWS + 7, 3), (images, labels, ROWS, 4)]
    with frozen(model), counting(model) as count:
        found = [
            attack.perturb(model, some, right, threat=threat, generator=KeyedGenerator(seed, rows))
            for some, right, rows, seed in batches
        ]
    return torch.stack(found), count


CASES: list[tuple[Attack, Norm]] = [
    *((Pgd(steps=3), norm) for norm in NORMS),
    (Pgd(steps=2, restarts=2, keep="best"), "l2"),
    (MultiTargeted(steps=2), "linf"),
]


@pytest.mark.parametrize(("attack", "norm"), CASES)
@pytest.mark.sampled(2)
def test_recorded_attacks_find_the_same_candidates_and_count_the_same(attack: Attack, norm: Norm, problem) -> None:
    expected, counted = attacked(attack, problem, norm)
    recorded.clear()
    with recording(trace):
        found, count = attacked(attack, problem, norm)
    assert recorded
    assert (
        isinstance(attack, MultiTargeted) or len(recorded) == 1
    )  # for all batches; MT's shrink while examples are fooled
    assert torch.equal(found, expected)
    assert (count.forward, count.gradient) == (counted.forward, counted.gradient)


class Asked:
    """What a metric is given: three batches, the last of another shape."""

    def __init__(self, problem: tuple[nn.Module, Tensor, Tensor]) -> None:
        self.model, images, labels = problem
        self.threat = Threat(epsilon=0.05)
        parts = [torch.arange(6), torch.tensor([5, 1, 0, 2, 4, 3]), torch.arange(4)]
        self._batches = [(images[part], labels[part], KeyedGenerator(5, part)) for part in parts]

    def batches(self, *_: object) -> list[tuple[Tensor, Tensor, KeyedGenerator]]:
        return self._batches


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("variant", ["equation", "released"])
@pytest.mark.sampled(3)
def test_recorded_lipschitzness_is_the_same(variant, precision: Precision, problem) -> None:
    def measured() -> Mapping[str, Sequence[float] | Tensor]:
        with frozen(problem[0]), precision_of_searches(precision):
            return LocalLipschitzness(steps=3, variant=variant).measure(Asked(problem)).per_example  # type: ignore[arg-type]

    expected = measured()
    recorded.clear()
    with recording(trace):
        found = measured()
    assert len(recorded) == 1
    assert all(torch.equal(torch.as_tensor(found[name]), torch.as_tensor(expected[name])) for name in expected)


def test_recordings_end_with_the_block_in_which_the_model_is_frozen(problem) -> None:
    recorded.clear()
    with recording(trace):
        attacked(Pgd(steps=1), problem, "linf")
        with torch.no_grad():
            problem[0].conv1.weight.mul_(-1.0)
        found, _ = attacked(Pgd(steps=1), problem, "linf")
    assert len(recorded) == 2
    assert torch.equal(found, attacked(Pgd(steps=1), problem, "linf")[0])


def test_draws_that_no_call_before_has_made_cannot_be_recorded(problem) -> None:
    calls: list[int] = []

    def capricious(images: Tensor, generator: KeyedGenerator) -> Tensor:
        calls.append(1)
        return images + generator.child(len(calls)).uniform_like(images)

    def call() -> Tensor:
        return replayed(capricious, (problem[1],), KeyedGenerator(0, ROWS), key="capricious")

    with recording(trace), frozen(problem[0]):
        call()
        with pytest.raises(UnknownDrawError):
            call()


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
    on_device = tuple(part.cuda() for part in problem)
    rows = ROWS.cuda()
    threat = Threat(norm=norm, epsilon={"linf": 0.05, "l2": 0.5, "l1": 2.0}[norm])

    def run() -> Tensor:
        model, images, labels = on_device
        with frozen(model):
            found = [
                Pgd().perturb(model, images, labels, threat=threat, generator=KeyedGenerator(seed, rows))
                for seed in range(3)
            ]
        return torch.stack(found)

    expected = run()
    with recording():
        found = run()
    torch.testing.assert_close(found, expected)
