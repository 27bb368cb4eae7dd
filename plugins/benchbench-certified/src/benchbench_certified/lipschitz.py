"""A network that is 1-Lipschitz in L2 by construction, and what that proves."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import orthogonal

from benchbench.contract import OptionError, Threat

_UNIT = 2.0**-24  # roundoff of float32
_SLACK = 1 + 1e-9  # far more than float64 rounds in the bounds themselves


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """A dense layer's weights, float64, and the norms that bounds need."""

    weight: Tensor
    bias: Tensor
    norm: float  # of W, in L2
    absolute_norm: float  # of |W|, in L2

    def rounding(self, size: Tensor, error: Tensor) -> Tensor:
        """Bound (N,) of the L2 error of float32, for inputs of at most this size and error.

        Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.5: gamma_n (|W| |x| + |b|), in any order of
        summation, and the error of the inputs, which W passes on.
        """
        count = self.weight.shape[1] + 2
        gamma = count * _UNIT / (1 - count * _UNIT)
        found: Tensor = self.norm * error + gamma * (self.absolute_norm * (size + error) + self.bias.norm())
        return found


class LipschitzNetwork(nn.Module):
    """Dense layers with orthonormal rows or columns, and MaxMin between them.

    Anil, Lucas, Grosse, "Sorting out Lipschitz Function Approximation", 2019. Neither makes a distance in L2 longer, so the
    logits over `scale` are 1-Lipschitz in L2, and margins over the scale change by at most sqrt(2) times the L2 length of a
    perturbation. It is a `benchbench.contract.CertifiedModel`.
    """

    def __init__(self, widths: tuple[int, ...], *, scale: float) -> None:
        super().__init__()
        pairs = itertools.pairwise(widths)
        layers = [orthogonal(nn.Linear(*pair), orthogonal_map="householder") for pair in pairs]
        self.layers = nn.ModuleList(layers)
        self.sort = MaxMin()
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of float inputs (N, ...)."""
        features = images.flatten(1)
        for place, layer in enumerate(self._dense):
            features = layer(features if place == 0 else self.sort(features))
        return features * self.scale

    @torch.no_grad()
    def margin_bounds(self, images: Tensor, labels: Tensor, *, threat: Threat) -> Tensor:
        """Lower bounds of the margin; see `benchbench.contract.CertifiedModel`.

        The margin of y over j changes by at most the norm of W_y - W_j, times the norms of the earlier layers, times the
        radius. The norms are those of the float32 weights, and the rounding errors of float32 are subtracted.
        """
        values = images.double().flatten(1)
        moved, error = length_in_l2(threat, values.shape[1]), values.new_zeros(len(values))
        *hidden, last = self._frozen_layers()
        for layer in hidden:
            error = layer.rounding(values.norm(dim=1) + moved, error)
            values, moved = self.sort(values @ layer.weight.T + layer.bias), moved * layer.norm
        error = math.sqrt(2) * last.rounding(values.norm(dim=1) + moved, error)
        logits = values @ last.weight.T + last.bias
        error = error + 4 * _UNIT * (logits.norm(dim=1) + moved * last.norm + error)  # of the scale
        change = (last.weight[labels][:, None] - last.weight[None]).norm(dim=2) * moved
        margins = logits.gather(1, labels[:, None]) - logits - change * _SLACK - error[:, None] * _SLACK
        least: Tensor = margins.scatter(1, labels[:, None], math.inf).amin(dim=1)
        return self.scale * least

    @torch.no_grad()
    def lipschitz_bounds(self, images: Tensor, *, threat: Threat) -> Tensor:
        """Upper bounds, the same everywhere; see `benchbench.contract.CertifiedModel`.

        L1 norms of logits are at most sqrt(classes) times L2 norms; likewise L2 and L-inf norms of perturbations.
        """
        layers = self._frozen_layers()
        product = math.prod(layer.norm for layer in layers) * self.scale
        longest = length_in_l2(threat, images[0].numel()) / threat.epsilon
        constant = math.sqrt(len(layers[-1].bias)) * product * longest * _SLACK
        return torch.full((len(images),), constant, dtype=torch.float64, device=images.device)

    @property
    def _dense(self) -> list[nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def _frozen_layers(self) -> list[_Layer]:
        found = []
        with parametrize.cached():
            for layer in self._dense:
                weight, bias = layer.weight.double(), layer.bias.double()
                norms = [float(torch.linalg.matrix_norm(one, 2)) * _SLACK for one in (weight, weight.abs())]
                found.append(_Layer(weight=weight, bias=bias, norm=norms[0], absolute_norm=norms[1]))
        return found


class MaxMin(nn.Module):
    """The larger of each two neighbours, then the smaller ones: the L2 norm stays."""

    def forward(self, features: Tensor) -> Tensor:
        """Sort the pairs of (N, D), D even."""
        pairs = features.reshape(len(features), -1, 2)
        return torch.cat([pairs.amax(dim=2), pairs.amin(dim=2)], dim=1)


def make_lipschitz_mlp(
    *, input_shape: tuple[int, ...], classes: int, hidden: tuple[int, ...] = (128, 128), scale: float = 1.0
) -> LipschitzNetwork:
    """Orthogonal dense layers with MaxMin, 1-Lipschitz in L2 up to the scale.

    Args:
        input_shape: of any dimension.
        classes: number of logits.
        hidden: width of each hidden layer, even and at least 2.
        scale: factor of the logits, above 0. It changes the training loss, and neither predictions nor certificates.

    Raises:
        OptionError: an option is out of range.
    """
    if scale <= 0:
        raise OptionError(f"scale must be above 0, got {scale}")
    if any(width < 2 or width % 2 for width in hidden):
        raise OptionError(f"hidden must be even widths of at least 2, got {hidden}")
    return LipschitzNetwork((math.prod(input_shape), *hidden, classes), scale=scale)


def length_in_l2(threat: Threat, dimension: int) -> float:
    """L2 length of the longest perturbation in the ball."""
    return threat.epsilon * (math.sqrt(dimension) if threat.norm == "linf" else 1.0)
