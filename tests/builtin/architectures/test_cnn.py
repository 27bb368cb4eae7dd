"""CNN1 and CNN2."""

from __future__ import annotations

import math

import pytest
import torch

from benchbench.builtin.architectures.cnn import make_cnn1, make_cnn2
from benchbench.contract import OptionError


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def dense(inputs, outputs):
    return inputs * outputs + outputs


def convolution(inputs, outputs):
    return 9 * inputs * outputs + outputs


def test_cnn1_has_the_protocols_layers_on_mnist():
    model = make_cnn1(input_shape=(1, 28, 28), classes=10)
    assert parameters(model) == convolution(1, 32) + convolution(32, 64) + dense(9216, 128) + dense(128, 10) == 1199882
    kinds = [type(layer).__name__ for layer in model]
    assert kinds == [
        *("Conv2d", "ReLU", "Conv2d", "MaxPool2d", "Dropout2d"),
        *("Flatten", "Linear", "ReLU", "Dropout", "Linear"),
    ]
    assert (model.dropout1.p, model.dropout2.p) == (0.25, 0.5)
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_cnn2_has_the_protocols_layers_on_mnist():
    model = make_cnn2(input_shape=(1, 28, 28), classes=10)
    convolutions = convolution(1, 32) + convolution(32, 32) + convolution(32, 64) + convolution(64, 64)
    assert parameters(model) == convolutions + dense(1024, 200) + dense(200, 200) + dense(200, 10) == 312202
    kinds = [type(layer).__name__ for layer in model]
    assert kinds == [
        *("Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"),
        *("Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"),
        *("Flatten", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Linear"),
    ]
    assert model.dropout.p == 0.5
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_cnn2_starts_kaiming_normal_with_zero_biases_and_a_zero_last_layer():
    torch.manual_seed(0)
    model = make_cnn2(input_shape=(3, 32, 32), classes=10)
    for layer, fan_in in ((model.conv2, 9 * 32), (model.conv3, 9 * 32), (model.conv4, 9 * 64)):
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.03)
        assert layer.weight.mean().abs().item() < 0.002
        assert (layer.bias == 0).all()
    assert (model.dense3.weight == 0).all()
    assert (model.dense3.bias == 0).all()
    assert (model.dense1.bias != 0).any()  # PyTorch's default elsewhere
    assert (model.eval()(torch.rand(2, 3, 32, 32)) == 0).all()


@pytest.mark.parametrize(
    ("make", "shape"),
    [(make_cnn1, (1, 6, 6)), (make_cnn1, (3, 8, 11)), (make_cnn2, (1, 16, 16)), (make_cnn2, (3, 32, 19))],
)
def test_any_image_that_is_large_enough_fits(make, shape):
    assert make(input_shape=shape, classes=7)(torch.rand(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (make_cnn1, {"input_shape": (1, 5, 28), "classes": 10}, "cnn1 takes images of at least 6x6 pixels, got 5x28"),
        (make_cnn2, {"input_shape": (1, 8, 8), "classes": 10}, "cnn2 takes images of at least 16x16 pixels, got 8x8"),
        (
            make_cnn2,
            {"input_shape": (2,), "classes": 2},
            r"shape \(channels, height, width\), got inputs of shape \(2,\)",
        ),
        (make_cnn1, {"input_shape": (0, 28, 28), "classes": 2}, r"got inputs of shape \(0, 28, 28\)"),
        (make_cnn1, {"input_shape": (1, 28, 28), "classes": 1}, "at least 2 classes, got 1"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_expected(make, arguments, message):
    with pytest.raises(OptionError, match=message):
        make(**arguments)
