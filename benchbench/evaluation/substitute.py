"""A substitute for a model: what breaks it often breaks the model too.

It is trained on the model's answers alone: Papernot et al., "Practical Black-Box Attacks against Machine Learning" (ASIA CCS
2017), without its rounds of augmentation. The answers are the evaluation's predictions on test examples, so that no query is
spent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

MOST_ANSWERS = 1024  # to learn from; fewer if inputs have more than 65,536 numbers
_MOST_NUMBERS = 2**26
_HIDDEN = 128
_PASSES, _BATCH, _LEARNING_RATE = 10, 32, 3e-3


def answers_kept(features: int) -> int:
    """How many answers a substitute learns from."""
    return max(1, min(MOST_ANSWERS, _MOST_NUMBERS // features))


def train_substitute(images: Tensor, answers: Tensor, generator: torch.Generator) -> nn.Module:
    """Train a network of one hidden layer on a model's answers (N,) for inputs (N, ...).

    It costs 6 x 128 x 10 operations for each pixel: a third of a second for 1,024 images of MNIST on a CPU core. The generator
    draws weights and order, on the CPU.
    """
    features, classes = images[0].numel(), int(answers.max()) + 1
    network = nn.Sequential(nn.Flatten(), _linear(features, _HIDDEN, generator), nn.ReLU())
    network.append(_linear(_HIDDEN, classes, generator))
    network.to(images.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    with torch.enable_grad():
        for _ in range(_PASSES):
            order = torch.randperm(len(images), generator=generator).to(images.device)
            for chosen in torch.split(order, _BATCH):
                optimizer.zero_grad()
                torch.autograd.backward(cross_entropy(network(images[chosen]), answers[chosen]))
                optimizer.step()
    return network.requires_grad_(False)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A layer with He's initialisation and zero bias, drawn from the generator."""
    layer: nn.Linear = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.copy_(torch.randn(outputs, inputs, generator=generator) * (2 / inputs) ** 0.5)
        layer.bias.zero_()
    return layer
