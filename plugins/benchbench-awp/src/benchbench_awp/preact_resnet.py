"""PreAct ResNet-18 (He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.contract import OptionError

STAGES = ((1, 1), (2, 2), (4, 2), (8, 2))  # width over the stem's, stride of the first of two blocks


class PreActBlock(nn.Module):
    """Batch-norm, ReLU, 3x3 convolution, twice, plus the input (by 1x1 if the shape changes).

    Args:
        inputs: channels in.
        outputs: channels out.
        stride: of the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if changes else None

    def forward(self, features: Tensor) -> Tensor:
        """Map float (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        activated = F.relu(self.norm1(features))
        residual: Tensor = self.conv2(F.relu(self.norm2(self.conv1(activated))))
        return residual + (features if self.shortcut is None else self.shortcut(activated))


def make_preact_resnet18(*, input_shape: tuple[int, ...], classes: int, width: int = 64) -> nn.Module:
    """3x3 stem, four stages of two blocks, batch-norm, ReLU, average over pixels, dense layer.

    Args:
        input_shape: (C, H, W), at least 16x16.
        classes: number of classes, at least 2.
        width: channels of the stem, at least 1; 64 is the paper's.

    Raises:
        OptionError: for an option out of range, or inputs that are no such images.
    """
    if width < 1:
        raise OptionError(f"width must be at least 1, got {width}")
    if len(input_shape) != 3 or min(input_shape[1:]) < 16:
        raise OptionError(f"preact-resnet-18 needs images of at least 16x16, got inputs of shape {input_shape}")
    layers: list[nn.Module] = [nn.Conv2d(input_shape[0], width, 3, padding=1, bias=False)]
    inputs = width
    for factor, stride in STAGES:
        outputs = width * factor
        layers += [PreActBlock(inputs, outputs, stride=stride), PreActBlock(outputs, outputs, stride=1)]
        inputs = outputs
    layers += [nn.BatchNorm2d(inputs), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes)]
    return nn.Sequential(*layers)
