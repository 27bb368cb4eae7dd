"""Wide residual networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from benchbench.builtin.architectures.wide_resnet import make_wide_resnet
from benchbench.contract import OptionError


def count(depth, width, channels, classes):
    """Parameters by the table of Zagoruyko & Komodakis: groups of (depth - 4) / 6 blocks of two convolutions."""
    blocks = (depth - 4) // 6
    total = 9 * channels * 16
    before = 16
    for group in range(3):
        wide = 16 * width * 2**group
        first = 2 * before + 9 * before * wide + 2 * wide + 9 * wide * wide
        shortcut = before * wide if group or width > 1 else 0
        total += first + shortcut + (blocks - 1) * (4 * wide + 18 * wide * wide)
        before = wide
    return total + 2 * before + before * classes + classes


@pytest.mark.parametrize(("depth", "width"), [(40, 10), (28, 10), (10, 1), (16, 4)])
def test_parameter_count_is_the_published_one(depth, width):
    with torch.device("meta"):
        model = make_wide_resnet(input_shape=(3, 32, 32), classes=10, depth=depth, width=width)
    assert sum(p.numel() for p in model.parameters()) == count(depth, width, 3, 10)


def test_default_is_wrn_40_10_with_55_84_million_parameters():
    with torch.device("meta"):
        model = make_wide_resnet(input_shape=(3, 32, 32), classes=10)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 55.84
    on_main_path = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(on_main_path) + 1 + 2 == 40  # as the paper counts: the dense layer and two of three shortcuts
    assert all(module.bias is None for module in on_main_path)


def test_convolutions_start_normal_with_the_protocols_deviation():
    torch.manual_seed(0)
    model = make_wide_resnet(input_shape=(3, 32, 32), classes=10, depth=10, width=4)
    for block in model.blocks:
        for layer, pixels in ((block.conv1, 9), (block.conv2, 9), (block.shortcut, 1)):
            expected = math.sqrt(2 / (pixels * layer.out_channels))
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.05)


def test_average_over_the_pixels_is_the_protocols_pooling_by_eight():
    torch.manual_seed(0)
    model = make_wide_resnet(input_shape=(3, 32, 32), classes=5, depth=10, width=1).eval()
    images = torch.rand(2, 3, 32, 32)
    features = torch.relu(model.norm(model.blocks(model.stem(images))))
    assert features.shape == (2, 64, 8, 8)
    pooled = nn.functional.avg_pool2d(features, 8).flatten(1)
    torch.testing.assert_close(model(images), model.dense(pooled))


def test_block_is_pre_activated_with_dropout_between_its_convolutions():
    torch.manual_seed(0)
    model = make_wide_resnet(input_shape=(3, 8, 8), classes=5, depth=16, width=1, dropout=0.3).eval()
    first_wide, plain = model.blocks[2], model.blocks[1]
    assert plain.shortcut is None
    assert plain.dropout.p == 0.3
    features = torch.randn(2, 16, 8, 8)
    for block in (first_wide, plain):
        activated = torch.relu(block.norm1(features))
        inner = block.conv2(torch.relu(block.norm2(block.conv1(activated))))
        carried = features if block.shortcut is None else block.shortcut(activated)
        torch.testing.assert_close(block(features), inner + carried)
    torch.manual_seed(1)
    hidden = torch.relu(plain.norm2(plain.conv1(torch.relu(plain.norm1(features)))))
    expected = features + plain.conv2(nn.functional.dropout(hidden, 0.3))
    torch.manual_seed(1)
    plain.dropout.train()
    torch.testing.assert_close(plain(features), expected)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 64, 48)])
def test_other_image_sizes_and_channels_fit(shape):
    model = make_wide_resnet(input_shape=shape, classes=3, depth=10, width=1)
    assert model(torch.rand(2, *shape)).shape == (2, 3)


def test_options_out_of_range_are_named_together():
    with pytest.raises(OptionError, match=r"depth must be 6 n \+ 4 .*got 41; .*width .*got 0; .*dropout .*got 1.0"):
        make_wide_resnet(input_shape=(3, 32, 32), classes=10, depth=41, width=0, dropout=1.0)


def test_too_small_images_are_refused():
    with pytest.raises(OptionError, match="wrn takes images of at least 8x8 pixels, got 4x8"):
        make_wide_resnet(input_shape=(3, 4, 8), classes=10)
