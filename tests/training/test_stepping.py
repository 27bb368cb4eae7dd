"""Steps of training: augmented batches, and recorded steps that run out of a GPU's memory, on the pretend device."""

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
from benchbench.contract.recipe import Augmentation, Recipe
from benchbench.events import Event, Note
from benchbench.kernels import graphs
from benchbench.training import TrainedModel, TrainingJob, train
from benchbench.training.stepping import augment


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


@pytest.mark.cuda
@only_on_pretend_device
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


@pytest.mark.cuda
@only_on_pretend_device
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


def _images(count: int = 200) -> torch.Tensor:
    return torch.arange(1, 1 + 2 * 5 * 5, dtype=torch.uint8).reshape(1, 2, 5, 5).repeat(count, 1, 1, 1)


def test_every_crop_is_a_window_of_the_padded_image_and_every_window_occurs() -> None:
    images = _images()
    cropped = augment(images, Augmentation(padding=1), KeyedGenerator(0, torch.arange(200)))
    padded = torch.nn.functional.pad(images[0], (1, 1, 1, 1))
    windows = {padded[:, top : top + 5, left : left + 5].numpy().tobytes() for top in range(3) for left in range(3)}
    assert {image.numpy().tobytes() for image in cropped} == windows


def test_about_half_the_images_are_mirrored() -> None:
    images = _images()
    flipped = augment(images, Augmentation(flip=True), KeyedGenerator(0, torch.arange(200)))
    mirrored = [torch.equal(image, images[0].flip(2)) for image in flipped]
    assert all(m or torch.equal(image, images[0]) for m, image in zip(mirrored, flipped))
    assert 70 < sum(mirrored) < 130


def test_crop_changes_the_size() -> None:
    cropped = augment(_images(4), Augmentation(padding=2, crop=3), KeyedGenerator(0, torch.arange(4)))
    assert cropped.shape == (4, 2, 3, 3)
    assert cropped.dtype == torch.uint8


def test_augmentation_does_not_depend_on_the_batch() -> None:
    images = torch.randint(0, 255, (20, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    augmentation = Augmentation(padding=2, flip=True)
    whole = augment(images, augmentation, KeyedGenerator(3, torch.arange(20)))
    part = augment(images[[7]], augmentation, KeyedGenerator(3, torch.tensor([7])))
    assert torch.equal(whole[[7]], part)


def test_nothing_to_do_returns_the_images() -> None:
    images = _images(3)
    assert augment(images, Augmentation(), KeyedGenerator(0, torch.arange(3))) is images
