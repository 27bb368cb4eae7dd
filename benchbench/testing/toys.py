"""Small models and problems whose exact answers are known."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.contract import Examples, KeyedGenerator, Norm, Threat, derive_seed

_DUAL_ORDER: dict[Norm, float] = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}
_FAR_BELOW = -10.0  # logit of the classes that no perturbation reaches


class LinearToy(nn.Module):
    """f(x) = W x + b on flat inputs; distances to its boundary and Lipschitz constant are exact.

    The weight is float (classes, d), the bias float (classes,), zero when left out.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(weight.new_zeros(weight.shape[0]) if bias is None else bias.clone())

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, classes) of inputs (N, ...)."""
        logits: Tensor = nn.functional.linear(inputs.flatten(1), self.weight, self.bias)
        return logits

    @torch.no_grad()
    def distance(self, inputs: Tensor, labels: Tensor, norm: Norm) -> Tensor:
        """Size (N,) of the least perturbation that changes a right prediction; below 0 if wrong.

        min over t != y of (f_y(x) - f_t(x)) / ||w_y - w_t||_q with q the dual of the norm (Hoelder's inequality is tight). The
        box of valid inputs is ignored: the result is exact if x, float (N, ...), is farther than that from every face.
        """
        logits: Tensor = self(inputs)
        margins = logits.gather(1, labels[:, None]) - logits
        slopes = (self.weight[labels][:, None, :] - self.weight[None]).norm(p=_DUAL_ORDER[norm], dim=2)
        own = nn.functional.one_hot(labels, logits.shape[1]).bool()
        distances: Tensor = (margins / slopes).masked_fill(own, float("inf")).amin(dim=1)
        return distances

    @torch.no_grad()
    def robust(self, inputs: Tensor, labels: Tensor, threat: Threat) -> Tensor:
        """bool (N,): correct on the whole ball (see `distance` about the box)."""
        return self.distance(inputs, labels, threat.norm) > threat.epsilon

    @torch.no_grad()
    def lipschitz_constant(self) -> float:
        """sup over x != x' of ||f(x) - f(x')||_1 / ||x - x'||_inf, equation 3's ratio.

        It is the largest ||sum_k s_k w_k||_1 over all signs s, which are tried one by one: for at most about 12 classes.
        """
        signs = itertools.product((1.0, -1.0), repeat=self.weight.shape[0] - 1)
        sums = [(self.weight * self.weight.new_tensor((1.0, *rest))[:, None]).sum(dim=0) for rest in signs]
        return max(float(total.abs().sum()) for total in sums)


class FragileToy(nn.Module):
    """Network on (C, H, W) with batch-norm and dropout: reveals what a plugin changes."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        features = int(torch.Size(input_shape).numel())
        with _own_randomness("fragile toy"):
            self.first = nn.Linear(features, 16)
            self.normalisation = nn.BatchNorm1d(16)
            self.dropout = nn.Dropout(0.5)
            self.last = nn.Linear(16, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, classes) of inputs (N, C, H, W)."""
        hidden = self.normalisation(self.first(inputs.flatten(1))).relu()
        logits: Tensor = self.last(self.dropout(hidden))
        return logits


def smooth_toy(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """A small fixed network without batch-norm or dropout, twice differentiable (softplus)."""
    features = int(torch.Size(input_shape).numel())
    with _own_randomness("smooth toy"):
        return nn.Sequential(nn.Flatten(), nn.Linear(features, 16), nn.Softplus(), nn.Linear(16, classes))


@contextmanager
def _own_randomness(purpose: str) -> Iterator[None]:
    """Seed the initialisation of modules, a global draw of torch; restore the global state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(purpose))
        yield


@dataclass(frozen=True, kw_only=True)
class ToyAttackProblem:
    """A linear model and images at known distances from its boundary.

    Attributes:
        model: on 1 x 8 x 8 images; the first and the last class compete, those between are out of reach.
        images: float32 (N, 1, 8, 8), away from 0 and 1.
        labels: int64 (N,), all predicted correctly.
        threat: the ball to attack in; a smallest perturbation never reaches the faces of the box.
        distances: float32 (N,), the exact size of the smallest adversarial perturbation of each image.
    """

    model: LinearToy
    images: Tensor
    labels: Tensor
    threat: Threat
    distances: Tensor


def toy_attack_problem(norm: Norm, *, hardest: float, classes: int = 2) -> ToyAttackProblem:
    """Images at distances of 0.2 to `hardest` epsilon, and one out of reach, at 1.5 epsilon.

    The weights have three magnitudes (1, 1/2, 1/10), so that each norm has another best direction.
    """
    epsilon = {"linf": 0.05, "l2": 0.3, "l1": 0.3}[norm]
    draws = KeyedGenerator(derive_seed("toy attack problem"), torch.arange(9))
    magnitudes = torch.tensor([1.0, 0.5, 1.0, 0.1]).repeat(16)
    direction = magnitudes * draws.take(torch.tensor([0])).normal(64)[0].sign()
    weight = torch.zeros(classes, 64)
    weight[0], weight[-1] = direction, -direction
    model = LinearToy(weight).eval()
    signs = 1.0 - 2.0 * (torch.arange(9) % 2)
    distances = epsilon * torch.cat([torch.linspace(0.2, hardest, 8), torch.tensor([1.5])])
    noise = draws.uniform(64, low=-0.1, high=0.1)
    noise = noise - (noise @ direction)[:, None] * direction / direction.square().sum()
    margins = distances * direction.norm(p=_DUAL_ORDER[norm])
    towards_label = signs[:, None] * direction / direction.square().sum()
    centred = noise + margins[:, None] * towards_label
    model.bias.data = -0.5 * model.weight.data.sum(dim=1)  # the boundary passes through the middle of the box
    model.bias.data[1:-1] = _FAR_BELOW
    return ToyAttackProblem(
        model=model,
        images=(0.5 + centred).view(9, 1, 8, 8),
        labels=(torch.arange(9) % 2) * (classes - 1),
        threat=Threat(norm=norm, epsilon=epsilon),
        distances=distances,
    )


TOY_THREAT = Threat(epsilon=0.15)
"""Threat of `toy_training_examples`: a robust classifier exists; plain training misses it."""


def toy_training_examples(count: int = 128) -> Examples:
    """Two classes on which robust and plain training differ, after Tsipras et al. (ICLR 2019).

    Four of 64 pixels differ by +-0.3 between the classes and survive `TOY_THREAT`. The sixty others differ by +-0.1 and do not
    survive it; but together they separate better, so plain training prefers them. Both are linearly separable. The images are
    float32 (count, 1, 8, 8) in [0.15, 0.85], the labels alternate 0 and 1.
    """
    labels = torch.arange(count) % 2
    strength = torch.full((64,), 0.1)
    strength[27:29] = strength[35:37] = 0.3
    strength[::2] *= -1.0  # as many up as down: the classes have the same mean brightness
    noise = KeyedGenerator(derive_seed("toy training"), torch.arange(count)).uniform(64, low=-0.05, high=0.05)
    images = 0.5 + (2.0 * labels.float() - 1.0)[:, None] * strength + noise
    return Examples(inputs=images.view(count, 1, 8, 8), labels=labels)
