from __future__ import annotations

import torch

from benchbench.contract import KeyedGenerator
from benchbench.contract.recipe import Augmentation
from benchbench.training.stepping import augment


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
