"""Requirements of architectures on inputs and classes, checked before a model is built."""

from __future__ import annotations

from dataclasses import dataclass

from benchbench.contract import OptionError


@dataclass(frozen=True, kw_only=True)
class ImageShape:
    """The shape of one image; height and width in pixels."""

    channels: int
    height: int
    width: int


def image_shape(name: str, input_shape: tuple[int, ...], *, smallest: tuple[int, int]) -> ImageShape:
    """The shape of an input; OptionError unless it is an image of at least `smallest` (h, w)."""
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise OptionError(
            f"{name} takes images of shape (channels, height, width), got inputs of shape {input_shape}",
            hint="mlp takes inputs of any shape",
        )
    channels, height, width = input_shape
    if height < smallest[0] or width < smallest[1]:
        raise OptionError(
            f"{name} takes images of at least {smallest[0]}x{smallest[1]} pixels, got {height}x{width}",
            hint="choose an architecture for smaller images, for instance cnn1 or mlp",
        )
    return ImageShape(channels=channels, height=height, width=width)


def require_classes(name: str, classes: int) -> None:
    """Raise an OptionError for fewer than two classes."""
    if classes < 2:
        raise OptionError(f"{name} is a classifier of at least 2 classes, got {classes}")
