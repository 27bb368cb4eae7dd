"""Small networks for tests of bounds, one for each kind of step."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from benchbench.builtin.architectures.cnn import make_cnn1, make_cnn2
from benchbench.builtin.architectures.mlp import make_mlp
from benchbench.builtin.architectures.wide_resnet import make_wide_resnet


class Residual(nn.Module):
    """Normalisation of the input, a residual sum of a leaky layer, average pooling, and ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([[[[0.4]], [[0.5]]]]))
        self.first = nn.Conv2d(2, 3, 3, padding="same")
        self.act = nn.LeakyReLU(0.1)
        self.second = nn.Conv2d(3, 3, 3, padding=1, groups=3, stride=1)
        self.pool = nn.AvgPool2d(2)
        self.cap = nn.ReLU6()
        self.last = nn.Linear(12, 3)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.act(self.first((images - self.mean) / 0.25))
        hidden = torch.relu(hidden + self.second(hidden))
        return self.last(self.cap(4 * self.pool(hidden)).view(images.size(0), -1))


def prepared(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in evaluation mode, with parameters and statistics drawn at random so that its answers vary."""
    draws = torch.Generator().manual_seed(seed)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.dim() > 1 and "mean" not in name:
            tensor.data = torch.randn(tensor.shape, generator=draws) * (2 / tensor[0].numel()) ** 0.5
        elif name.endswith("running_var"):
            tensor.data = 0.5 + torch.rand(tensor.shape, generator=draws)
        elif tensor.is_floating_point() and tensor.dim() == 1:
            tensor.data = 0.2 * torch.randn(tensor.shape, generator=draws) + (
                1.0 if "norm" in name and "weight" in name else 0.0
            )
    return model.eval().requires_grad_(False)


SHAPES = {
    "mlp": (1, 4, 4),
    "linear": (1, 4, 4),
    "cnn1": (1, 8, 8),
    "cnn2": (1, 16, 16),
    "wrn": (3, 8, 8),
    "residual": (2, 4, 4),
}


def network_of(name: str, seed: int = 0) -> nn.Module:
    """A small network of an architecture with 3 classes."""
    shape = SHAPES[name]
    made = {
        "mlp": lambda: make_mlp(input_shape=shape, classes=3, hidden=(12, 10)),
        "linear": lambda: make_mlp(input_shape=shape, classes=3, hidden=()),
        "cnn1": lambda: make_cnn1(input_shape=shape, classes=3),
        "cnn2": lambda: make_cnn2(input_shape=shape, classes=3),
        "wrn": lambda: make_wide_resnet(input_shape=shape, classes=3, depth=10, width=1),
        "residual": Residual,
    }
    return prepared(made[name](), seed)


def tiny_mlp(seed: int, widths: tuple[int, ...] = (2, 4, 3, 3)) -> nn.Sequential:
    """Linear layers with ReLU between them, few enough for all patterns of signs."""
    layers: list[nn.Module] = [nn.Flatten()]
    for index, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        layers += [nn.Linear(inputs, outputs)] + ([nn.ReLU()] if index < len(widths) - 2 else [])
    made = nn.Sequential(*layers)
    draws = torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draws)
    return made.eval().requires_grad_(False)


def exact_logits(model: nn.Sequential, point: Tensor) -> list[Fraction]:
    """The logits of a `tiny_mlp` in rational arithmetic."""
    values = [Fraction(float(number)) for number in point.flatten()]
    for layer in model:
        if isinstance(layer, nn.Linear):
            weight, bias = layer.weight.tolist(), layer.bias.tolist()
            values = [
                sum((Fraction(w) * v for w, v in zip(row, values)), Fraction(shift)) for row, shift in zip(weight, bias)
            ]
        elif isinstance(layer, nn.ReLU):
            values = [max(value, Fraction(0)) for value in values]
    return values


def least_by_patterns(model: nn.Sequential, row: Tensor, lower: Tensor, upper: Tensor) -> float:
    """The exact least value of row . f(x) over a box: a linear program for each pattern of signs."""
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    hidden = [layer.out_features for layer in layers[:-1]]
    best = np.inf
    for pattern in itertools.product((0.0, 1.0), repeat=sum(hidden)):
        found = _least_in_pattern(layers, np.split(np.array(pattern), np.cumsum(hidden)[:-1]), row, lower, upper)
        best = min(best, found)
    return float(best)


def _least_in_pattern(
    layers: list[nn.Linear], signs: list[np.ndarray], row: Tensor, lower: Tensor, upper: Tensor
) -> float:
    matrix, shift = np.eye(lower.numel()), np.zeros(lower.numel())
    limits, sides = [], []
    for layer, sign in zip(layers, [*signs, None]):
        weight, bias = layer.weight.double().numpy(), layer.bias.double().numpy()
        matrix, shift = weight @ matrix, weight @ shift + bias
        if sign is not None:
            turn = 1 - 2 * sign  # where active, -z <= 0
            limits.append(turn[:, None] * matrix)
            sides.append(-turn * shift)
            matrix, shift = sign[:, None] * matrix, sign * shift
    box = list(zip(lower.flatten().tolist(), upper.flatten().tolist()))
    objective = row.double().numpy() @ matrix
    solved = linprog(objective, np.concatenate(limits), np.concatenate(sides), bounds=box, method="highs")
    return float(solved.fun + row.double().numpy() @ shift) if solved.status == 0 else np.inf
