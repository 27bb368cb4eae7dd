"""The architecture checks pass a good architecture and catch planted bugs."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn

from benchbench.testing import ConformanceError, check_architecture


class Good(nn.Module):
    def __init__(self, input_shape: tuple[int, ...], classes: int, width: int = 4) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(input_shape[0], width, 3), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))


class TenClassesOnly(Good):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, 10)


class NormalisesOverBatch(Good):
    def forward(self, images):
        return super().forward(images - images.mean(dim=0, keepdim=True))


class MutatesInputs(Good):
    def forward(self, images):
        return super().forward(images.sub_(0.5))


class Views(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.convolution = nn.Conv2d(input_shape[0], 4, 3, padding=1)
        self.head = nn.Linear(4 * input_shape[1] * input_shape[2], classes)

    def forward(self, images):
        return self.head(self.convolution(images).view(images.size(0), -1))


class UnusedLayer(Good):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        self.spare = nn.Linear(2, 2)


class OwnRandomness(Good):
    instances = 0

    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        OwnRandomness.instances += 1
        self.head.bias.data.fill_(OwnRandomness.instances)


class Noisy(Good):
    def forward(self, images):
        return super().forward(images) + torch.randn(1)


class CountsCalls(Good):
    def __init__(self, input_shape, classes):
        super().__init__(input_shape, classes)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images):
        self.calls += 1
        return super().forward(images)


class HalfPrecision(Good):
    def forward(self, images):
        return super().forward(images).half()


class Returns(Good):
    def forward(self, images):
        return (super().forward(images),)


def test_good_architecture_passes_for_each_shape() -> None:
    check_architecture(Good, input_shapes=[(1, 8, 8), (3, 9, 7)])


def test_options_are_set_with_partial() -> None:
    check_architecture(functools.partial(Good, width=2), input_shapes=[(1, 8, 8)], classes=(1000,))


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (TenClassesOnly, "float32 (3, 2)"),
        (HalfPrecision, "float32 (3, 2)"),
        (Returns, "got: tuple"),
        (NormalisesOverBatch, "alone as in a batch"),
        (MutatesInputs, "changed in place"),
        (Views, "flatten(1), not view"),
        (UnusedLayer, "spare"),
        (OwnRandomness, "initial weights"),
        (Noisy, "source of randomness"),
        (CountsCalls, "buffers of the model"),
        (lambda input_shape, classes: "a model", "nn.Module"),
    ],
)
def test_planted_bug_is_caught(factory, message: str) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_architecture(factory, input_shapes=[(1, 8, 8)])
    assert message in str(caught.value)
