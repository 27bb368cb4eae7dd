"""timm's architectures, and ResNet50 among them."""

from __future__ import annotations

import pytest
import torch

from benchbench.builtin.architectures.timm_models import list_timm_models, make_resnet50, make_timm_model
from benchbench.contract import OptionError


def resnet50_parameters(channels, classes):
    """By the table of He et al.: bottlenecks of 1x1, 3x3 and 1x1 convolutions, each with a batch normalisation."""
    total, before = 49 * channels * 64 + 128, 64
    for blocks, inner in ((3, 64), (4, 128), (6, 256), (3, 512)):
        outer = 4 * inner
        total += before * outer + 2 * outer  # the shortcut of the first block
        for _ in range(blocks):
            total += before * inner + 9 * inner * inner + inner * outer + 4 * inner + 2 * outer
            before = outer
    return total + before * classes + classes


def test_resnet50_is_the_standard_one_at_64_pixels_too():
    with torch.device("meta"):
        model = make_resnet50(input_shape=(3, 64, 64), classes=9)
        assert model(torch.empty(2, 3, 64, 64)).shape == (2, 9)
        stem = model.maxpool(model.conv1(torch.empty(2, 3, 64, 64)))
    assert sum(p.numel() for p in model.parameters()) == resnet50_parameters(3, 9)
    assert resnet50_parameters(3, 1000) == 25557032
    assert stem.shape == (2, 64, 16, 16)
    assert (model.conv1.kernel_size, model.conv1.stride) == ((7, 7), (2, 2))


def test_resnet50_blocks_do_not_start_as_the_identity():
    model = make_resnet50(input_shape=(1, 32, 32), classes=2)
    assert (model.layer1[0].bn3.weight == 1).all()


@pytest.mark.parametrize("member", ["test_resnet", "test_vit", "resnet18"])
def test_members_take_the_channels_size_and_classes_of_the_data(member):
    model = make_timm_model(member=member, input_shape=(1, 32, 64), classes=5)
    assert model.training
    assert model(torch.rand(2, 1, 32, 64)).shape == (2, 5)


def test_members_are_timms_models():
    members = list(list_timm_models())
    assert {"resnet50", "vit_base_patch16_224", "wide_resnet50_2"} <= set(members)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: make_timm_model(member="resnet5O", input_shape=(3, 32, 32), classes=5),
            "no model 'resnet5O'\n.*resnet50",
        ),
        (
            lambda: make_timm_model(member="test_vit", input_shape=(3, 4, 4), classes=5),
            r"timm:test_vit cannot be built for inputs of shape \(3, 4, 4\)",
        ),
        (
            lambda: make_timm_model(member="resnet18", input_shape=(2,), classes=2),
            "timm:resnet18 takes images of shape",
        ),
        (lambda: make_resnet50(input_shape=(3, 28, 28), classes=9), "resnet50 takes images of at least 32x32"),
        (lambda: make_resnet50(input_shape=(3, 64, 64), classes=1), "at least 2 classes"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_expected(make, message):
    with pytest.raises(OptionError, match=message):
        make()
