"""A multilayer perceptron, for inputs of any shape."""

from __future__ import annotations

import itertools
import math

from benchbench.builtin.architectures.requirements import require_classes
from benchbench.builtin.deferred import nn
from benchbench.contract import OptionError

MOST_LAYERS = 100
WIDEST = 10**5


def make_mlp(*, input_shape: tuple[int, ...], classes: int, hidden: tuple[int, ...] = (128, 128)) -> nn.Sequential:
    """Dense layers with ReLU between them, initialised by PyTorch; linear without hidden layers.

    Args:
        input_shape: of any dimension.
        classes: number of logits.
        hidden: width of each hidden layer, in [1, 10**5]; at most 100 of them, or none.
    """
    require_classes("mlp", classes)
    if len(hidden) > MOST_LAYERS or any(not 1 <= width <= WIDEST for width in hidden):
        raise OptionError(f"mlp: expected at most {MOST_LAYERS} hidden layers of widths in [1, {WIDEST}], got {hidden}")
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise((math.prod(input_shape), *hidden)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    last = hidden[-1] if hidden else math.prod(input_shape)
    return nn.Sequential(*layers, nn.Linear(last, classes))
