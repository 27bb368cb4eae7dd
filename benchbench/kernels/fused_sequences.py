"""Sequences of layers in fewer CUDA launches: fused bias, pooling, ReLU; prepared weights.

The kernels of a network like CNN2 are so short that the host cannot start them as fast as the device finishes them. So the
ReLU's kernel adds the bias of the convolution before it, after the pooling if there is one, because adding a constant keeps
the largest value the largest. A dense layer includes its ReLU. Frozen weights are rounded once per search, not at each pass,
and stored in the memory order of flattened images.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.kernels.fused import add_relu, pass_scaled, pool_relu, unpool
from benchbench.kernels.layers import Context, is_plain, other_forward, quick_forward

_KNOWN = (nn.Conv2d, nn.Linear, nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.Dropout, nn.Dropout2d)
Weights = dict[int, Tensor]  # by the id of the parameter


@contextmanager
def fused_sequences(model: nn.Module) -> Iterator[None]:
    """Run a block in which a model's sequences of known layers on CUDA need fewer launches."""

    def replaces(forward: object) -> bool:
        # Also an enclosing block's _Forward, whose weights may have changed since they were prepared.
        return forward is quick_forward or isinstance(forward, _Forward)

    with other_forward(model, _is_known, _Forward(), over=replaces):
        yield


def _is_known(module: nn.Module) -> bool:
    parameters = [*module.parameters()]
    return (
        type(module) is nn.Sequential
        and bool(parameters)
        and all(type(layer) in _KNOWN for layer in module)
        and all(parameter.is_cuda for parameter in parameters)
    )


def _rounded_type() -> torch.dtype | None:
    """The type that autocast rounds to; None where it is off."""
    return torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None


class _Forward:
    """The fused forward pass, with the frozen weights that it has prepared."""

    def __init__(self) -> None:
        self._prepared: dict[Hashable, tuple[Sequence[Tensor], list[int], tuple[Tensor, ...]]] = {}

    def __call__(self, sequence: nn.Sequential, inputs: Tensor) -> Tensor:
        layers = list(sequence)
        watched = not all(is_plain(layer, type(layer)) for layer in layers)
        if watched or inputs.dim() not in (2, 4) or torch._C._are_functorch_transforms_active():
            plain: Tensor = nn.Sequential.forward(sequence, inputs)  # type: ignore[no-untyped-call]
            return plain
        rounded = _rounded_type()
        weights = self._weights(list(sequence.parameters()), rounded)
        with torch.autocast("cuda", enabled=False):
            values, position = inputs if rounded is None else inputs.to(rounded), 0
            while position < len(layers):
                values, taken = self._take(layers[position : position + 4], values, weights)
                position += taken
        return values

    def _weights(self, parameters: list[nn.Parameter], rounded: torch.dtype | None) -> Weights:
        """The parameters, rounded as the pass is: those that learn at each pass, by one kernel."""
        if rounded is None:
            return {id(parameter): parameter for parameter in parameters}
        learning = [parameter for parameter in parameters if parameter.requires_grad]
        frozen = [parameter for parameter in parameters if not parameter.requires_grad]
        cast = (*_Rounded.apply(rounded, *learning),) if learning else ()  # type: ignore[no-untyped-call]
        if frozen:
            cast += self._once(lambda: _cast(frozen, rounded), frozen, rounded)
        return {id(parameter): value for parameter, value in zip([*learning, *frozen], cast)}

    def _once(
        self, make: Callable[[], tuple[Tensor, ...]], parameters: Sequence[Tensor], *key: Hashable
    ) -> tuple[Tensor, ...]:
        """Return ``make()``, repeated only after a change of a parameter; `key` names the product."""
        name = (*map(id, parameters), *key)  # the ids stay unique, because an entry keeps its parameters alive
        versions = [parameter._version for parameter in parameters]
        if name not in self._prepared or self._prepared[name][1] != versions:
            self._prepared[name] = (parameters, versions, make())
        return self._prepared[name][2]

    def _take(self, layers: list[nn.Module], values: Tensor, weights: Weights) -> tuple[Tensor, int]:
        """Apply one to four layers; return the values and the number of layers."""
        first, second, third, fourth = (*layers, None, None, None)[:4]
        if isinstance(first, nn.Flatten) and isinstance(second, nn.Linear) and _is_in_channels_last(first, values):
            turned = self._turned(weights[id(second.weight)], second.weight, values.shape[1:])
            if turned is not None:
                return _dense(values.permute(0, 2, 3, 1).flatten(1), turned, second, (third, fourth), weights, taken=2)
        if isinstance(first, nn.Linear):
            return _dense(values, weights[id(first.weight)], first, (second, third), weights, taken=1)
        if isinstance(first, nn.Conv2d):
            return _convolve(values, first, second, third, weights)
        passed: Tensor = first(values)  # type: ignore[misc]
        return passed, 1

    def _turned(self, weight: Tensor, parameter: Tensor, order: torch.Size) -> Tensor | None:
        """A dense layer's weights (M, C H W) reordered for inputs (N, H W C); None while they learn."""
        if parameter.requires_grad:
            return None

        def turn() -> tuple[Tensor, ...]:
            return (weight.view(-1, *order).permute(0, 2, 3, 1).flatten(1),)

        return self._once(turn, [parameter], order, weight.dtype)[0]


def _convolve(
    values: Tensor, layer: nn.Conv2d, second: nn.Module | None, third: nn.Module | None, weights: Weights
) -> tuple[Tensor, int]:
    """Apply a convolution, and the ReLU and the pooling after it where they can be fused."""
    weight, bias = weights[id(layer.weight)], None if layer.bias is None else weights[id(layer.bias)]
    if bias is None or layer.padding_mode != "zeros" or not isinstance(second, nn.ReLU):
        return layer._conv_forward(values, weight, bias), 1
    sums = F.conv2d(values, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
    if _halves(third, sums):
        return _PoolRelu.apply(sums, bias), 3  # type: ignore[no-untyped-call]
    return _AddRelu.apply(sums, bias), 2  # type: ignore[no-untyped-call]


def _dense(
    values: Tensor,
    weight: Tensor,
    layer: nn.Linear,
    after: tuple[nn.Module | None, nn.Module | None],
    weights: Weights,
    *,
    taken: int,
) -> tuple[Tensor, int]:
    """Apply a dense layer, and the ReLU and the dropout after it where they can be fused."""
    bias = None if layer.bias is None else weights[id(layer.bias)]
    relu, dropout = after
    if bias is None or values.dim() != 2 or not isinstance(relu, nn.ReLU):
        return F.linear(values, weight, bias), taken
    drops = isinstance(dropout, nn.Dropout) and dropout.training and "forward" not in vars(dropout)
    share = float(dropout.p) if drops else 0.0  # type: ignore[union-attr,arg-type]
    return _DenseRelu.apply(values, weight, bias, share), taken + 1 + drops  # type: ignore[no-untyped-call]


def _halves(layer: nn.Module | None, values: Tensor) -> bool:
    """Whether a layer is a max-pooling of 2x2 windows that cover all values."""
    if not isinstance(layer, nn.MaxPool2d) or layer.return_indices or values.dim() != 4:
        return False
    geometry = [layer.kernel_size, layer.stride, layer.padding, layer.dilation]
    plain = [tuple(size) if isinstance(size, (tuple, list)) else (size, size) for size in geometry]
    return plain == [(2, 2), (2, 2), (0, 0), (1, 1)] and not (values.shape[2] % 2 or values.shape[3] % 2)


def _is_in_channels_last(layer: nn.Flatten, values: Tensor) -> bool:
    whole = layer.start_dim == 1 and layer.end_dim in (-1, 3) and values.dim() == 4
    return whole and values.is_contiguous(memory_format=torch.channels_last) and not values.is_contiguous()


class _Kept(Context, Protocol):
    """The context of a pass that also keeps a type or a factor."""

    exact: torch.dtype
    scale: float


class _Rounded(torch.autograd.Function):
    """Tensors rounded by one kernel, and their gradients converted back by another."""

    @staticmethod
    def forward(ctx: _Kept, rounded: torch.dtype, *exact: Tensor) -> tuple[Tensor, ...]:
        ctx.exact = exact[0].dtype
        return _cast(exact, rounded)

    @staticmethod
    def backward(ctx: _Kept, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # the gradient will be differentiated again
            return (None, *(gradient.to(ctx.exact) for gradient in gradients))
        return (None, *_cast(gradients, ctx.exact))


def _cast(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    cast = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    torch._foreach_copy_(cast, list(tensors))
    return tuple(cast)


def _bias_gradient(passed: Tensor, over: tuple[int, ...]) -> Tensor:
    """Sum gradients in their own type; autocast would add a kernel that rounds the sum."""
    return passed.sum(over, dtype=passed.dtype)


class _AddRelu(torch.autograd.Function):
    """ReLU of values (N, C, H, W) plus a bias (C,)."""

    @staticmethod
    def forward(ctx: Context, values: Tensor, bias: Tensor) -> Tensor:
        output = add_relu(values.permute(0, 2, 3, 1), bias).permute(0, 3, 1, 2)
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        (output,) = ctx.saved_tensors
        passed: Tensor = torch.ops.aten.threshold_backward(gradients[0], output, 0)
        return passed, _bias_gradient(passed, (0, 2, 3)) if ctx.needs_input_grad[1] else None


class _PoolRelu(torch.autograd.Function):
    """ReLU of the largest of each 2x2 window of values (N, C, H, W), plus a bias (C,)."""

    @staticmethod
    def forward(ctx: Context, values: Tensor, bias: Tensor) -> Tensor:
        output, places = pool_relu(values.permute(0, 2, 3, 1), bias)
        ctx.save_for_backward(places)
        return output.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        (places,) = ctx.saved_tensors
        spread = _Unpool.apply(gradients[0].permute(0, 2, 3, 1), places)  # type: ignore[no-untyped-call]
        return spread.permute(0, 3, 1, 2), _bias_gradient(spread, (0, 1, 2)) if ctx.needs_input_grad[1] else None


class _Unpool(torch.autograd.Function):
    """The linear backward pass of `_PoolRelu`; its own backward pass gathers what it spreads."""

    @staticmethod
    def forward(ctx: Context, gradient: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        return unpool(gradient.contiguous(), places)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        spread = gradients[0]
        windows = torch.stack([spread[:, row::2, column::2] for row in range(2) for column in range(2)])
        here = torch.arange(4, dtype=places.dtype, device=places.device).view(-1, 1, 1, 1, 1)
        return torch.where(places == here, windows, 0.0).sum(dim=0), None


class _DenseRelu(torch.autograd.Function):
    """A dense layer, its ReLU, and dropout of a share of the result."""

    @staticmethod
    def forward(ctx: _Kept, values: Tensor, weight: Tensor, bias: Tensor, share: float) -> Tensor:
        output: Tensor = torch._addmm_activation(bias, values, weight.t())
        if share > 0:
            output = F.dropout(output, share)
        ctx.save_for_backward(values, weight, output)
        ctx.scale = 1.0 / (1.0 - share) if share < 1 else 0.0
        return output

    @staticmethod
    def backward(ctx: _Kept, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, output = ctx.saved_tensors
        if torch.is_grad_enabled() or ctx.scale == 1.0:  # differentiable again, unlike the kernel below
            passed = torch.ops.aten.threshold_backward(gradients[0], output, 0)
            passed = passed if ctx.scale == 1.0 else passed * ctx.scale
        else:
            passed = pass_scaled(gradients[0], output, ctx.scale)
        learns = ctx.needs_input_grad
        return (
            passed @ weight if learns[0] else None,
            passed.t() @ values if learns[1] else None,
            _bias_gradient(passed, (0,)) if learns[2] else None,
            None,
        )
