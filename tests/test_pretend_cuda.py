"""The pretend CUDA device itself, run on it: what it refuses, what it counts, and its graphs, GPUs and memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pretend_cuda import counting
from pretend_device import only_on_pretend_device
from torch import Tensor, nn
from torch.nn import functional as F

pytestmark = [pytest.mark.cuda, only_on_pretend_device]

FIRST, SECOND = "cuda:0", "cuda:1"


def ones(device: str = FIRST) -> Tensor:
    return torch.ones(3, device=device)


@pytest.mark.parametrize(
    "mix",
    [
        lambda: ones() + torch.ones(3),
        lambda: torch.ones(3) + ones(),
        lambda: torch.ones(3).add_(ones()),
        lambda: torch.zeros(()).add_(ones().sum()),
        lambda: torch.ones(3)[ones().long()],
        lambda: ones().gather(0, torch.tensor([0])),
        lambda: torch.cat([ones(), torch.ones(1)]),
        lambda: torch.equal(ones(), torch.ones(3)),
        lambda: nn.Linear(3, 1).cuda()(torch.ones(3)),
        lambda: F.cross_entropy(ones()[None], torch.tensor([0])),
        lambda: ones() + ones(SECOND),
        lambda: ones(SECOND).mul_(ones()),
    ],
)
def test_operations_on_two_devices_are_refused(mix: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError, match=r"same device.*test_pretend_cuda"):
        mix()


@pytest.mark.parametrize(
    "allowed",
    [
        lambda: ones() * torch.tensor(2.0),
        lambda: ones()[torch.tensor([0, 1])],
        lambda: ones().masked_fill(ones() > 0, torch.tensor(2.0)),
        lambda: ones().copy_(torch.ones(3)),
        lambda: ones(SECOND).copy_(ones()),
        lambda: ones().to(SECOND),
        lambda: torch.ones_like(torch.ones(3), device=FIRST),
        lambda: ones()[None][range(1), torch.tensor([2])],
    ],
)
def test_what_cuda_takes_from_elsewhere_is_allowed(allowed: Callable[[], Tensor]) -> None:
    assert allowed().is_cuda


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.rand(3, generator=torch.Generator(FIRST)),
        lambda: torch.rand(3, device=FIRST, generator=torch.Generator()),
        lambda: ones().uniform_(generator=torch.Generator()),
        lambda: torch.randperm(3, device=FIRST, generator=torch.Generator()),
    ],
)
def test_generator_of_another_device_is_refused(draw: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError, match="device type for generator"):
        draw()


def test_generators_of_the_device_are_apart_from_that_of_the_cpu() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    drawn = torch.rand(3, device=FIRST)
    assert torch.equal(torch.get_rng_state(), before)
    torch.cuda.manual_seed_all(3)
    assert torch.equal(torch.rand(3, device=FIRST), drawn)
    assert torch.equal(torch.rand(3, device=FIRST, generator=torch.Generator(FIRST).manual_seed(3)), drawn)


@pytest.mark.parametrize(
    ("act", "what"),
    [
        (lambda values: values.sum().item(), "_local_scalar_dense"),
        (lambda values: bool((values > 0).all()), "_local_scalar_dense"),
        (lambda values: values.cpu(), "copy to the host"),
        (lambda values: values.tolist(), "copy to the host"),
        (lambda values: values[values > 0], "index"),
        (lambda values: values.nonzero(), "nonzero"),
        (lambda values: values.long().unique(), "_unique2"),
        (lambda values: torch.equal(values, values), "equal"),
        (lambda values: torch.cuda.synchronize(), "synchronize"),
    ],
)
def test_waiting_is_counted_where_it_is_asked_for(act: Callable[[Tensor], object], what: str) -> None:
    values = ones()
    with counting() as tally:
        act(values)
    line = act.__code__.co_firstlineno
    assert dict(tally.syncs) == {(what, f"{'/'.join(__file__.split('/')[-3:])}:{line}"): 1}


def test_copies_from_the_host_are_counted_apart_and_kernels_do_not_wait() -> None:
    values = ones()
    with counting() as tally:
        ((values + 1) * values).view(1, 3).expand(2, 3).sum()
        values[values > 0] = 0.0
        values.fill_(2.0)
    assert (tally.launches.total(), tally.waits.total()) == (6, 0)
    with counting() as tally:
        torch.ones(3).to(FIRST)
        torch.tensor([1.0], device=FIRST)
        values[0] = torch.tensor(1.0)
    assert (tally.copies.total(), tally.syncs.total()) == (3, 0)


def test_gradients_and_steps_stay_on_the_device_and_are_those_of_the_cpu() -> None:
    found = []
    for device in ("cpu", FIRST):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
        held = list(model.parameters())
        images = torch.linspace(-1, 1, 64).view(4, 1, 4, 4).to(device)
        optimizer = torch.optim.SGD(model.to(device).parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(images), torch.tensor([0, 1, 2, 0], device=device)).backward()
            optimizer.step()
        assert all(one is other for one, other in zip(held, model.parameters(), strict=True))
        found.append([value.cpu() for value in model.state_dict().values()])
        assert all(parameter.device == parameter.grad.device == torch.device(device) for parameter in held)  # type: ignore[union-attr]
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def captured(step: Callable[[], object]) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


def test_a_replay_computes_with_what_the_buffers_hold_now() -> None:
    given, total, results = ones(), torch.zeros(3, device=FIRST), []

    def step() -> None:
        results.append(given * 2 + torch.arange(3, device=FIRST))
        total.add_(results[0])

    graph = captured(step)
    assert total.tolist() == [0, 0, 0]  # capturing takes no step
    for value in (1.0, 5.0):
        given.fill_(value)
        with counting() as tally:
            graph.replay()
        assert results[0].tolist() == [2 * value, 2 * value + 1, 2 * value + 2]
        assert tally.launches.total() == 1
    assert total.tolist() == [12, 14, 16]


@pytest.mark.parametrize("act", [lambda: ones().sum().item(), lambda: torch.ones(3).cuda(), torch.cuda.synchronize])
def test_a_capture_refuses_to_wait(act: Callable[[], object]) -> None:
    refusals: list[RuntimeError] = []

    def step() -> None:
        try:
            act()
        except RuntimeError as error:
            refusals.append(error)
            raise

    with pytest.raises(RuntimeError, match="previous error during capture"):
        captured(step)
    assert "not permitted when stream is capturing" in str(refusals[0])
    act()  # is taken again


def test_each_gpu_is_a_device_of_its_own() -> None:
    assert torch.cuda.device_count() == 2
    with torch.cuda.device(1):
        assert torch.ones(1, device="cuda").device == torch.device(SECOND)
    assert torch.ones(1, device="cuda").device == torch.device(FIRST)
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.ones(1, device="cuda:2")


def test_memory_is_that_of_live_tensors() -> None:
    from pretend_cuda.gpus import GPUS

    gpu = GPUS[1]
    before = torch.cuda.memory_allocated(SECOND)
    torch.cuda.reset_peak_memory_stats(SECOND)
    values = torch.zeros(1000, device=SECOND)
    shared = values.view(10, 100)[3]
    del values
    assert torch.cuda.memory_allocated(SECOND) - before == 4096
    del shared
    assert torch.cuda.memory_allocated(SECOND) == before
    assert torch.cuda.max_memory_allocated(SECOND) - before == 4096
    gpu.taken, total = gpu.total - 4096 - before, gpu.total
    try:
        assert torch.cuda.mem_get_info(SECOND) == (4096, total)
        with pytest.raises(torch.OutOfMemoryError):
            torch.zeros(1025, device=SECOND)
        torch.zeros(1024, device=SECOND)
    finally:
        gpu.taken = 0
