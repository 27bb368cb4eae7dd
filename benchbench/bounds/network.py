"""A network as a list of steps: affine maps, rectifiers and sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

LinearMap = Callable[[Tensor], Tensor]
ConvolutionForm = tuple[tuple[int, int], tuple[int, int], tuple[int, int], int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine:
    """x -> W x + b, in float64.

    Attributes:
        apply: W x, from (N, *source) to (N, *shape).
        absolute: |W| x, likewise.
        transpose: W^T a, from (N, *shape) to (N, *source); differentiable.
        bias: b, (*shape), or of a shape that broadcasts to it.
        spread: at least |b|, in the shape of `bias`: what the terms that make up b add up to.
        windowed: whether it is a convolution of more than one pixel.
        roundings: how many float32 roundings a value undergoes at most, in any order of summation; 0 if it is exact.
        local: the transpose of a window, (N, ..., height, width), see `benchbench.bounds.windows`; None if there is none.
            The window of the source begins at `stride` times the place, less `padding`.
    """

    apply: LinearMap
    absolute: LinearMap
    transpose: LinearMap
    bias: Tensor
    spread: Tensor
    roundings: int
    windowed: bool = False
    local: LinearMap | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One step: `affine`, a rectifier x -> max(x, slope x), or else the sum of its sources.

    Attributes:
        name: of the layer in the module, for messages.
        shape: of the output of one example.
        sources: the steps whose outputs it takes; step 0 is the input.
        slope: of a rectifier below 0, in [0, 1); 0 is ReLU.
    """

    name: str
    shape: tuple[int, ...]
    sources: tuple[int, ...]
    affine: Affine | None = None
    slope: float | None = None

    @property
    def transformed(self) -> bool:
        """Whether libraries may compute it by transforms, with larger errors (Winograd)."""
        return self.affine is not None and self.affine.windowed


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """Steps in order of computation; the first is the input, the last gives the logits."""

    steps: tuple[Step, ...]

    @cached_property
    def rectifiers(self) -> tuple[int, ...]:
        """Positions of the rectifiers."""
        return tuple(place for place, step in enumerate(self.steps) if step.slope is not None)

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.steps[-1].shape[0]

    @cached_property
    def _matrices(self) -> dict[int, Tensor]:
        return {}

    def matrix(self, place: int) -> Tensor:
        """W of an affine step as a matrix, (numbers of its output, numbers of its source)."""
        step = self.steps[place]
        if place not in self._matrices and step.affine is not None:
            shape = self.steps[step.sources[0]].shape
            identity = torch.eye(math.prod(shape), dtype=torch.float64, device=step.affine.bias.device)
            self._matrices[place] = step.affine.apply(identity.reshape(-1, *shape)).flatten(1).T
        return self._matrices[place]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits, float64 (N, classes), of inputs (N, ...)."""
        return self.values(inputs)[-1]

    def values(self, inputs: Tensor) -> list[Tensor]:
        """The output of every step, float64 (N, *shape)."""
        found = [inputs.double()]
        for step in self.steps[1:]:
            taken = [found[source] for source in step.sources]
            if step.affine is not None:
                found.append(step.affine.apply(taken[0]) + step.affine.bias)
            elif step.slope is not None:
                found.append(F.leaky_relu(taken[0], step.slope))
            else:
                found.append(taken[0] + taken[1])
        return found


def dense(weight: Tensor, bias: Tensor | None) -> Affine:
    """A linear layer, weight (outputs, inputs)."""
    matrix = weight.detach().double()
    size = matrix.abs()
    return Affine(
        apply=lambda x: x @ matrix.T,
        absolute=lambda x: x @ size.T,
        transpose=lambda a: a @ matrix,
        roundings=matrix.shape[1] + 1,
        bias=_bias(bias, matrix, (-1,)),
        spread=_bias(bias, matrix, (-1,)).abs(),
    )


def convolution(weight: Tensor, bias: Tensor | None, form: ConvolutionForm, source: tuple[int, ...]) -> Affine:
    """A convolution of images (C, H, W); its form is stride, padding, dilation and groups."""
    kernel = weight.detach().double()
    size = kernel.abs()
    stride, padding, dilation, groups = form
    return Affine(
        apply=lambda x: F.conv2d(x, kernel, None, *form),
        absolute=lambda x: F.conv2d(x, size, None, *form),
        transpose=lambda a: conv2d_input((len(a), *source), kernel, a, *form),  # type: ignore[no-untyped-call]
        roundings=kernel[0].numel() + 1,
        windowed=kernel[0, 0].numel() > 1,
        local=lambda a: F.conv_transpose2d(a, kernel, None, stride, 0, 0, groups, dilation),
        stride=stride,
        padding=padding,
        bias=_bias(bias, kernel, (-1, 1, 1)),
        spread=_bias(bias, kernel, (-1, 1, 1)).abs(),
    )


def scaling(scale: Tensor, shift: Tensor, *, spread: Tensor | None = None, roundings: int = 1) -> Affine:
    """x -> scale x + shift, number by number; both broadcast to the shape of one example."""
    factor, bias = scale.detach().double(), shift.detach().double()
    return Affine(
        apply=lambda x: x * factor,
        absolute=lambda x: x * factor.abs(),
        transpose=lambda a: a * factor,
        bias=bias,
        spread=bias.abs() if spread is None else spread,
        roundings=roundings,
        local=(lambda a: a * factor) if all(size == 1 for size in factor.shape[-2:]) else None,
    )


def linear(
    function: LinearMap,
    source: tuple[int, ...],
    like: Tensor,
    *,
    absolute: LinearMap | None = None,
    roundings: int = 0,
    pointwise: bool = False,
    local: LinearMap | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
) -> Affine:
    """A linear function of (N, *source).

    `absolute` if a weight is negative; `pointwise` if it takes each place of the last two dimensions alone.
    """
    zero = torch.zeros((), dtype=torch.float64, device=like.device)

    def transposed(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
        with torch.enable_grad():
            point = zero.expand(len(rows), *shape).clone().requires_grad_(True)
            (found,) = torch.autograd.grad(function(point), point, rows, create_graph=rows.requires_grad)
        return found

    if pointwise:
        local = lambda rows: transposed(rows, (*source[:-2], *rows.shape[-2:]))  # noqa: E731

    return Affine(
        apply=function,
        absolute=absolute or function,
        transpose=lambda rows: transposed(rows, source),
        bias=zero,
        spread=zero,
        roundings=roundings,
        local=local,
        stride=stride,
        padding=padding,
    )


def _bias(bias: Tensor | None, weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    return weight.new_zeros(()) if bias is None else bias.detach().double().view(shape)
