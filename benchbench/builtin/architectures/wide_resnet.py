"""Wide residual networks with pre-activation blocks (Zagoruyko & Komodakis, 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchbench.builtin.architectures.requirements import image_shape, require_classes
from benchbench.contract import require

if TYPE_CHECKING:
    from benchbench.builtin.architectures.wide_blocks import WideResNet

DEEPEST = 1000
WIDEST = 100
SMALLEST = (8, 8)  # leaves 2x2 pixels to the last group, because batch normalisation needs more than one value


def make_wide_resnet(
    *, input_shape: tuple[int, ...], classes: int, depth: int = 40, width: int = 10, dropout: float = 0.0
) -> WideResNet:
    """A wide ResNet; WRN-40-10 (55.84 million parameters for 3 channels, 10 classes) by default.

    Args:
        input_shape: of images of at least 8x8.
        classes: number of logits.
        depth: number of layers on the main path, 6 n + 4 with n at least 1.
        width: multiple of the 16, 32 and 64 channels of the three groups, at least 1.
        dropout: probability between the two convolutions of each block, in [0, 1).
    """
    from benchbench.builtin.architectures.wide_blocks import WideResNet

    image = image_shape("wrn", input_shape, smallest=SMALLEST)
    require_classes("wrn", classes)
    fits = depth >= 10 and depth % 6 == 4
    require(
        {
            f"wrn: depth must be 6 n + 4 with n at least 1 (10, 16, 22, 28, 34, 40, ...), got {depth}": fits,
            f"wrn: depth must be at most {DEEPEST}, got {depth}": depth <= DEEPEST,
            f"wrn: width must be in [1, {WIDEST}], got {width}": 1 <= width <= WIDEST,
            f"wrn: dropout must be in [0, 1), got {dropout}": 0 <= dropout < 1,
        }
    )
    return WideResNet(channels=image.channels, classes=classes, depth=depth, width=width, dropout=dropout)
