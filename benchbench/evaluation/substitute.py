"""A substitute for a model, trained on nothing but its answers: what breaks the substitute often breaks the model, too.

Papernot et al., "Practical Black-Box Attacks against Machine Learning" (ASIA CCS 2017), without its rounds of augmentation: the
answers are the predictions on test examples that the evaluation has made anyway, so that no query is spent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchbench.contract import Threat, ascend

MOST_ANSWERS = 1024  # learnt from; fewer of inputs larger than 65,536 numbers
_MOST_NUMBERS = 2**26
_HIDDEN = 128
_PASSES, _BATCH, _LEARNING_RATE = 10, 32, 3e-3
_STEPS = 20


def answers_kept(features: int) -> int:
    """How many answers a substitute learns from.

    Args:
        features: numbers in an input.
    """
    return max(1, min(MOST_ANSWERS, _MOST_NUMBERS // features))


def train_substitute(images: Tensor, answers: Tensor, generator: torch.Generator) -> nn.Module:
    """A network of one hidden layer that imitates a model on some images.

    It costs 6 x 128 x 10 operations for each number of the images: a third of a second for 1,024 of MNIST's on a CPU core.

    Args:
        images: float32 (N, ...), inputs of the model.
        answers: int64 (N,), the classes that it predicts for them.
        generator: of weights and order, on the CPU.
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


def break_substitute(substitute: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
    """Candidates within the threat that the substitute gets wrong if it can be: projected gradient ascent of its loss.

    Args:
        images: float32 (N, ...), to be perturbed.
        labels: int64 (N,), of classes that the substitute knows.

    Returns:
        float32 (N, ...).
    """

    def loss(candidates: Tensor) -> Tensor:
        return cross_entropy(substitute(candidates), labels, reduction="sum")

    return ascend(loss, images, images, threat=threat, steps=_STEPS, step_size=threat.epsilon / 4)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A layer with He's initialisation and no bias at first, from a generator of its own instead of torch's."""
    layer: nn.Linear = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.copy_(torch.randn(outputs, inputs, generator=generator) * (2 / inputs) ** 0.5)
        layer.bias.zero_()
    return layer
