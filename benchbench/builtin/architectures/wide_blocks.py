"""The layers of wide residual networks; `wide_resnet` has their options."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

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
