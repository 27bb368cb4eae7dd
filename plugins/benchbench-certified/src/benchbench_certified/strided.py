"""The small strided network that certified training is measured on."""

from __future__ import annotations

from torch import nn

from benchbench.contract import OptionError


def make_strided_cnn(
    *,
    input_shape: tuple[int, ...],
    classes: int,
    channels: tuple[int, ...] = (16, 32),
    hidden: int = 100,
) -> nn.Sequential:
    """Convolutions 4x4 of stride 2 with ReLU, then two dense layers, by PyTorch's defaults.

    With 16 and 32 channels and 100 hidden units this is the MNIST network of Wong & Kolter (2018).

    Args:
        input_shape: (C, H, W); each convolution halves the sides, and at least a pixel must be left.
        classes: number of logits.
        channels: of each convolution, at least one, each at least 1.
        hidden: width of the hidden dense layer, at least 1.

    Raises:
        OptionError: an option is out of range, or inputs are no such images.
    """
    if len(input_shape) != 3 or min(input_shape[1:]) < 2 ** len(channels):
        raise OptionError(f"strided-cnn needs images of at least {2 ** len(channels)} pixels a side, got {input_shape}")
    if not channels or min(*channels, hidden) < 1:
        raise OptionError(f"channels and hidden must be at least 1, got {channels} and {hidden}")
    layers: list[nn.Module] = []
    taken, height, width = input_shape
    for made in channels:
        layers += [nn.Conv2d(taken, made, 4, stride=2, padding=1), nn.ReLU()]
        taken, height, width = made, height // 2, width // 2
    layers += [nn.Flatten(), nn.Linear(taken * height * width, hidden), nn.ReLU(), nn.Linear(hidden, classes)]
    return nn.Sequential(*layers)
