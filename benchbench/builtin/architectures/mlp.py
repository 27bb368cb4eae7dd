"""A multilayer perceptron, for inputs of any shape."""

from __future__ import annotations

import itertools
import math

from torch import nn

from benchbench.builtin.architectures.requirements import require_classes
from benchbench.contract import OptionError


def make_mlp(*, input_shape: tuple[int, ...], classes: int, hidden: tuple[int, ...] = (128, 128)) -> nn.Sequential:
    """Dense layers with ReLU between them, PyTorch's initialisation; without hidden layers a linear model.

    Args:
        input_shape: shape of one input, of any dimension.
        classes: number of logits, at least 2.
        hidden: width of each hidden layer, at least 1; may be empty.

    Returns:
        A model from float (N, *input_shape) to logits (N, classes).

    Raises:
        OptionError: a width is below 1, or there are fewer than two classes.
    """
    require_classes("mlp", classes)
    if any(width < 1 for width in hidden):
        raise OptionError(f"mlp: the widths of hidden layers must be at least 1, got {hidden}")
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise((math.prod(input_shape), *hidden)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    last = hidden[-1] if hidden else math.prod(input_shape)
    return nn.Sequential(*layers, nn.Linear(last, classes))
