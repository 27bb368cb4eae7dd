"""Recorded steps that run out of a GPU's memory, on the pretend device, whose memory can be set."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from pretend_device import only_on_pretend_device
from torch import nn

from benchbench.builtin.defenses.adversarial import AdversarialTraining
from benchbench.contract import Examples, KeyedGenerator, Threat
from benchbench.contract.recipe import Recipe
from benchbench.events import Event, Note
from benchbench.kernels import graphs
from benchbench.training import TrainedModel, TrainingJob, train

pytestmark = [pytest.mark.cuda, only_on_pretend_device]


@contextmanager
def memory_of(count: int) -> Iterator[None]:
    """Within the block, the GPU has so many bytes besides those that are allocated."""
    from pretend_cuda.gpus import GPUS

    gpu = GPUS[0]
    before, gpu.taken = gpu.taken, gpu.total - gpu.allocated - count
    try:
        yield
    finally:
        gpu.taken = before


def trained(events: list[Event], recorder: graphs.Recorder | None = None, *, recorded: bool = True) -> TrainedModel:
    """AT on a small network, in recorded steps by default."""
    numbers = torch.arange(192)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))
    for number, parameter in enumerate(model.parameters()):
        parameter.data = KeyedGenerator(number, torch.arange(len(parameter))).normal(*parameter.shape[1:]) / 8
    job = TrainingJob(
        model=model,
        defense=AdversarialTraining(steps=2),
        examples=Examples(
            inputs=KeyedGenerator(9, numbers).uniform(1, 8, 8), labels=KeyedGenerator(10, numbers).integers(4)
        ),
        rows=numbers,
        threat=Threat(epsilon=0.1),
        recipe=Recipe(learning_rate=1e-3, momentum=0.9, batch_size=64, epochs=2),
        seed=0,
        device=torch.device("cuda"),
    )
    with graphs.recording(recorder) if recorded else nullcontext():
        return train(job, listener=events.append)


def assert_alike(found: TrainedModel, expected: TrainedModel) -> None:
    for name, value in expected.model.state_dict().items():
        torch.testing.assert_close(found.model.state_dict()[name].cpu(), value.cpu(), rtol=1e-4, atol=1e-6)


def notes(events: list[Event]) -> list[str]:
    return [event.message.strip() for event in events if isinstance(event, Note)]


def test_recorded_training_that_lacks_memory_goes_on_in_parts() -> None:
    gc.collect()
    used = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    expected = trained([], recorded=False)
    needed = torch.cuda.max_memory_allocated() - used
    gc.collect()
    events: list[Event] = []
    with memory_of(int(0.9 * needed)):
        found = trained(events)
    assert (expected.part_size, found.part_size) == (0, 32)
    assert notes(events)[0] == "out of memory: steps are no longer recorded"
    assert_alike(found, expected)


def test_recording_that_lacks_memory_leaves_the_steps_to_be_taken_plainly() -> None:
    def in_little_memory(step: graphs.Step) -> graphs.Step:
        with memory_of(1024):
            return graphs._record_on_cuda(step)

    expected = trained([])
    events: list[Event] = []
    found = trained(events, in_little_memory)
    assert notes(events) == ["out of memory: steps are no longer recorded"]
    assert found.part_size == 0
    assert_alike(found, expected)
