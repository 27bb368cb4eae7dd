"""Wide residual networks with pre-activation blocks (Zagoruyko & Komodakis, 2016)."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.builtin.architectures.requirements import image_shape, require_classes
from benchbench.contract import require

DEEPEST = 1000
WIDEST = 100
SMALLEST = (8, 8)  # leaves 2x2 pixels to the last group, because batch normalisation needs more than one value
STEM_CHANNELS = 16


class WideBlock(nn.Module):
    """Twice batch-norm, ReLU, 3x3 convolution (dropout before the second), added to the input.

    Where width or resolution changes, a 1x1 convolution of the activated input replaces the input in the sum.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if changes else None

    def forward(self, features: Tensor) -> Tensor:
        """Map float (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        activated = F.relu(self.norm1(features), inplace=True)
        hidden = F.relu(self.norm2(self.conv1(activated)), inplace=True)
        residual: Tensor = self.conv2(self.dropout(hidden))
        return residual + (features if self.shortcut is None else self.shortcut(activated))


class WideResNet(nn.Module):
    """Stem, three groups at full, half and quarter resolution, pixel average, one dense layer.

    At 32x32 the average equals the protocol's pooling by 8. `make_wide_resnet` checks the options.
    """

    def __init__(self, *, channels: int, classes: int, depth: int, width: int, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, STEM_CHANNELS, 3, padding=1, bias=False)
        blocks: list[nn.Module] = []
        inputs = STEM_CHANNELS
        for group, stride in enumerate((1, 2, 2)):
            outputs = STEM_CHANNELS * width * 2**group
            for index in range((depth - 4) // 6):
                blocks.append(WideBlock(inputs, outputs, stride=stride if index == 0 else 1, dropout=dropout))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(inputs)
        self.dense = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))

    def forward(self, images: Tensor) -> Tensor:
        """Map float (N, channels, H, W) in [0, 1] to logits (N, classes)."""
        features = F.relu(self.norm(self.blocks(self.stem(images))), inplace=True)
        logits: Tensor = self.dense(features.mean(dim=(2, 3)))  # unlike adaptive pooling, deterministic on CUDA
        return logits


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
