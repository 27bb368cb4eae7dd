"""A rule for each layer that bounds know: the steps that compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.bounds.network import Affine, LinearMap, Network, Step, convolution, dense, linear, scaling

BATCH_NORM_ROUNDINGS = 8  # of sqrt(variance + eps), the quotient, two products, a difference and a sum, in either order


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """One call in a traced module.

    Attributes:
        name: where, for messages: ``blocks.0.act``.
        called: the layer or function.
        arguments: their values on the example batch; `options` likewise by keyword.
        sources: the step of each argument, None if it does not depend on the input.
        result: what it returned.
    """

    name: str
    called: Any
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    sources: tuple[int | None, ...]
    result: Tensor

    @property
    def source(self) -> int | None:
        """The step of the first argument, if it is the only one that depends on the input."""
        first, *others = self.sources
        return first if all(one is None for one in others) else None


class Builder:
    """Steps, added one by one; each method returns the place of what it added."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.steps = [Step(name="input", shape=shape, sources=())]
        self.like = torch.zeros((), dtype=torch.float64, device=device)

    def network(self, last: int) -> Network:
        """The steps up to the last one."""
        return Network(steps=tuple(self.steps[: last + 1]))

    def shape(self, place: int) -> tuple[int, ...]:
        """The shape of a step's output."""
        return self.steps[place].shape

    def affine(self, name: str, source: int, affine: Affine) -> int:
        """Add an affine map of a step."""
        probe = affine.apply(self.like.expand(1, *self.shape(source))) + affine.bias
        return self._add(Step(name=name, shape=tuple(probe.shape[1:]), sources=(source,), affine=affine))

    def linear(self, name: str, source: int, function: LinearMap, **how: Any) -> int:
        """Add a linear function of a step; see `benchbench.bounds.network.linear`."""
        return self.affine(name, source, linear(function, self.shape(source), self.like, **how))

    def rectifier(self, name: str, source: int, slope: float = 0.0) -> int:
        """Add x -> max(x, slope x), slope in [0, 1)."""
        return self._add(Step(name=name, shape=self.shape(source), sources=(source,), slope=slope))

    def sum(self, name: str, first: int, second: int) -> int:
        """Add the sum of two steps of the same shape."""
        return self._add(Step(name=name, shape=self.shape(first), sources=(first, second)))

    def _add(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1


Rule = Callable[[Builder, Call], int | None]


def _dense(to: Builder, call: Call) -> int | None:
    return (
        None if call.source is None else to.affine(call.name, call.source, dense(call.called.weight, call.called.bias))
    )


def _dense_function(to: Builder, call: Call) -> int | None:
    if call.source is None or len(call.arguments) < 2:
        return None
    weight, *bias = call.arguments[1:]
    return to.affine(call.name, call.source, dense(weight, bias[0] if bias else call.options.get("bias")))


def _convolution(to: Builder, call: Call) -> int | None:
    layer, source = call.called, call.source
    if source is None or layer.padding_mode != "zeros":
        return None
    padding = layer.padding
    if isinstance(padding, str):
        spans = [size * (kernel - 1) for size, kernel in zip(layer.dilation, layer.kernel_size)]
        if padding == "same" and any(span % 2 for span in spans):
            return None  # it pads more on one side
        padding = tuple(span // 2 if padding == "same" else 0 for span in spans)
    form = (layer.stride, padding, layer.dilation, layer.groups)
    return to.affine(call.name, source, convolution(layer.weight, layer.bias, form, to.shape(source)))


def _batch_norm(to: Builder, call: Call) -> int | None:
    layer, source = call.called, call.source
    if source is None or layer.running_mean is None or layer.training:
        return None
    mean, variance = layer.running_mean.double(), layer.running_var.double()
    weight = torch.ones_like(mean) if layer.weight is None else layer.weight.detach().double()
    bias = torch.zeros_like(mean) if layer.bias is None else layer.bias.detach().double()
    scale = weight / (variance + layer.eps).sqrt()
    shape = (-1, *[1] * (len(to.shape(source)) - 1))
    parts = [part.view(shape) for part in (scale, bias - mean * scale, bias.abs() + (mean * scale).abs())]
    return to.affine(call.name, source, scaling(parts[0], parts[1], spread=parts[2], roundings=BATCH_NORM_ROUNDINGS))


def _unchanged(to: Builder, call: Call) -> int | None:
    """The source itself, or the same numbers in another shape."""
    source, shape = call.source, tuple(call.result.shape[1:])
    if source is None or getattr(call.called, "training", False):
        return None
    if not torch.equal(call.result, call.arguments[0].reshape(call.result.shape)):
        return None
    return source if shape == to.shape(source) else to.linear(call.name, source, lambda x: x.reshape(len(x), *shape))


def _average(to: Builder, call: Call) -> int | None:
    if call.source is None:
        return None
    terms = call.arguments[0][0].numel()  # no average takes more
    rest, options = call.arguments[1:], call.options
    return to.linear(call.name, call.source, lambda x: call.called(x, *rest, **options), roundings=terms)


def _rectifier(to: Builder, call: Call) -> int | None:
    slope = getattr(call.called, "negative_slope", None)
    if slope is None:
        leaky = getattr(call.called, "__name__", "").startswith("leaky")
        slope = call.options.get("negative_slope", (*call.arguments, 0.01)[1]) if leaky else 0.0
    known = call.source is not None and 0 <= slope < 1
    return to.rectifier(call.name, call.source or 0, float(slope)) if known else None


def _relu6(to: Builder, call: Call) -> int | None:
    """min(max(x, 0), 6) = relu(x) - relu(x - 6)."""
    if call.source is None:
        return None
    shifted = to.affine(call.name, call.source, scaling(to.like + 1, to.like - 6, roundings=0))
    above, below = to.rectifier(call.name, shifted), to.rectifier(call.name, call.source)
    return to.sum(call.name, below, to.affine(call.name, above, scaling(to.like - 1, to.like, roundings=0)))


def _sum(to: Builder, call: Call) -> int | None:
    first, second = call.sources if len(call.sources) == 2 and not call.options else (None, None)
    if first is None or second is None:
        return _shift(to, call)
    return to.sum(call.name, first, second) if to.shape(first) == to.shape(second) else None


def _shift(to: Builder, call: Call) -> int | None:
    """A sum, difference, product or quotient with a constant."""
    if len(call.sources) != 2 or call.options or (call.sources[0] is None) == (call.sources[1] is None):
        return None
    behind = call.sources[0] is not None  # the constant
    source, other = (call.sources[0], call.arguments[1]) if behind else (call.sources[1], call.arguments[0])
    constant = torch.as_tensor(other, dtype=torch.float64, device=to.like.device)
    if source is None or constant.dim() > len(to.shape(source)) + 1:
        return None
    if constant.dim() == len(to.shape(source)) + 1:
        if len(constant) != 1:
            return None
        constant = constant[0]
    one, zero = to.like + 1, to.like
    name = call.called.__name__.strip("_")
    if name in ("truediv", "div") and not behind:
        return None
    scale, shift = {
        "add": (one, constant),
        "sub": (one, -constant) if behind else (-one, constant),
        "mul": (constant, zero),
    }.get(name.removeprefix("i"), (1 / constant, zero))
    # float32 rounds the constant, and a device may multiply by the rounded reciprocal of a divisor
    return to.affine(call.name, source, scaling(scale, shift, roundings=3 if "div" in name else 2))


def _max_pool(to: Builder, call: Call) -> int | None:
    """A tournament of the numbers in a window: max(a, b) = b + relu(a - b).

    Padding by zeros is that by minus infinity after a ReLU, where no number is below 0.
    """
    layer: Any = (
        call.called if isinstance(call.called, nn.Module) else nn.MaxPool2d(*call.arguments[1:], **call.options)
    )
    source = call.source
    if source is None or layer.return_indices or layer.ceil_mode or len(to.shape(source)) != 3:
        return None
    size, stride, padding, dilation = map(_pair, (layer.kernel_size, layer.stride, layer.padding, layer.dilation))
    if any(padding) and to.steps[source].slope != 0:
        return None
    rows, columns = call.result.shape[-2:]
    places = [(down * dilation[0], right * dilation[1]) for down, right in product(range(size[0]), range(size[1]))]

    def windows(x: Tensor) -> Tensor:
        padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
        ends = stride[0] * (rows - 1) + 1, stride[1] * (columns - 1) + 1
        parts = [padded[..., i : i + ends[0] : stride[0], j : j + ends[1] : stride[1]] for i, j in places]
        return torch.stack(parts, dim=1)

    def spread(a: Tensor) -> Tensor:
        ends = [step * (length - 1) + 1 for step, length in zip(stride, a.shape[-2:])]
        widths = [end + (count - 1) * apart for end, count, apart in zip(ends, size, dilation)]
        made = a.new_zeros(len(a), a.shape[2], *widths)
        for part, (i, j) in zip(a.unbind(1), places):
            made[..., i : i + ends[0] : stride[0], j : j + ends[1] : stride[1]] += part
        return made

    left = to.linear(call.name, source, windows, local=spread, stride=stride, padding=padding)
    while (count := to.shape(left)[0]) > 1:
        left = _round_of_pairs(to, call.name, left, count)
    return to.linear(call.name, left, lambda x: x[:, 0], pointwise=True)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _round_of_pairs(to: Builder, name: str, left: int, count: int) -> int:
    """The larger of each pair, and the one left over; (count, ...) to (ceil(count / 2), ...)."""
    half, odd = count // 2, count % 2
    difference = to.linear(
        name,
        left,
        lambda x: x[:, :half] - x[:, half : 2 * half],
        absolute=lambda x: x[:, :half] + x[:, half : 2 * half],
        pointwise=True,
    )
    excess = to.rectifier(name, difference)
    widened = to.linear(name, excess, lambda x: F.pad(x, (0, 0, 0, 0, 0, 0, 0, odd)), pointwise=True)
    return to.sum(name, to.linear(name, left, lambda x: x[:, half:], pointwise=True), widened)


LAYERS: Mapping[type[nn.Module], Rule] = {
    nn.Linear: _dense,
    nn.Conv2d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.ReLU: _rectifier,
    nn.LeakyReLU: _rectifier,
    nn.ReLU6: _relu6,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average,
    nn.AdaptiveAvgPool2d: _average,
    **dict.fromkeys((nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d), _unchanged),
}
"""By type of layer; a subclass may compute something else."""

FUNCTIONS: Mapping[str, Rule] = {
    **dict.fromkeys(("relu", "leaky_relu"), _rectifier),
    "relu6": _relu6,
    "linear": _dense_function,
    **dict.fromkeys(("add", "iadd"), _sum),
    **dict.fromkeys(("sub", "isub", "mul", "imul", "truediv", "itruediv", "div"), _shift),
    "max_pool2d": _max_pool,
    **dict.fromkeys(("mean", "avg_pool2d", "adaptive_avg_pool2d"), _average),
    **dict.fromkeys(
        ("flatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "clone", "dropout"), _unchanged
    ),
}
"""By name of a function or method."""
