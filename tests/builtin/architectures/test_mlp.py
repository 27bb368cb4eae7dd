"""The multilayer perceptron."""

from __future__ import annotations

import pytest
import torch

from benchbench.builtin.architectures.mlp import make_mlp
from benchbench.contract import OptionError


@pytest.mark.parametrize(
    ("shape", "hidden", "parameters"),
    [((2,), (128, 128), 3 * 128 + 129 * 128 + 129 * 4), ((1, 8, 8), (10,), 65 * 10 + 11 * 4), ((5,), (), 6 * 4)],
)
def test_mlp_takes_inputs_of_any_shape(shape, hidden, parameters):
    model = make_mlp(input_shape=shape, classes=4, hidden=hidden)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model(torch.rand(3, *shape)).shape == (3, 4)


def test_no_relu_follows_the_last_layer():
    torch.manual_seed(0)
    logits = make_mlp(input_shape=(2,), classes=3, hidden=(16,))(torch.randn(200, 2) * 10)
    assert (logits < 0).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 2, "hidden": (8, 0)}, r"widths in \[1, 100000\], got \(8, 0\)"),
        ({"classes": 1}, "at least 2 classes, got 1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        make_mlp(input_shape=(2,), **options)
