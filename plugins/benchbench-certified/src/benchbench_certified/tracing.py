"""Read a module by torch.fx, and bound its margins by intervals and by backward relaxation."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from benchbench.contract import NoBoundError
from benchbench_certified.steps import (
    Interval,
    Pull,
    Step,
    added,
    convolved,
    dense,
    rectified,
    reshaped,
    scaled,
)

_SHAPES = {"flatten", "Flatten", "reshape", "view", "Identity", "contiguous", "to"}
_MONOTONE = {
    *(
        "MaxMin",
        "MaxPool2d",
        "AvgPool2d",
        "AdaptiveAvgPool2d",
        "AdaptiveMaxPool2d",
        "Softplus",
        "Sigmoid",
        "Tanh",
        "ReLU6",
    ),
    *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "softplus", "sigmoid", "tanh", "relu6", "mean"),
}
_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)
_SUMS = frozenset({"add", "iadd"})


class Tracer:
    """Reads a model once per mode: tracing costs as much as a training step."""

    def __init__(self) -> None:
        self._graphs: WeakKeyDictionary[nn.Module, dict[bool, fx.Graph]] = WeakKeyDictionary()

    def bound(self, model: nn.Module, images: Interval) -> list[Step]:
        """The steps of the model from the input to the logits, in its present mode.

        Raises:
            NoBoundError: a layer has no rule, or the model cannot be traced.
        """
        graphs = self._graphs.setdefault(model, {})
        if model.training not in graphs:
            try:
                graphs[model.training] = _Leaves().trace(model)
            except Exception as error:  # any that the model's code raises
                raise NoBoundError(f"the model cannot be traced ({type(error).__name__}: {error})") from error
        return _Pass(model, images).run(graphs[model.training])


def margin_rows(labels: Tensor, classes: int, like: Tensor) -> Tensor:
    """Coefficients (C, N, C) of the label's logit minus each logit."""
    identity = torch.eye(classes, dtype=like.dtype, device=like.device)
    return identity[labels][None] - identity[:, None]


def least_margins(steps: list[Step], labels: Tensor, *, through_all: bool) -> Tensor:
    """Lower bounds (N, C) of the label's logit minus each logit; 0 for the label itself.

    Linear bounds go back through all steps (CROWN-IBP), or through the last layer only: then they are those of IBP with that
    layer elided (Gowal et al., section 3). What is left is bounded by its interval.
    """
    logits = steps[-1].interval.lower
    pending = {len(steps) - 1: margin_rows(labels, logits.shape[1], logits)}
    total = logits.new_zeros(logits.T.shape)
    last = 0 if through_all else max((place for place, step in enumerate(steps) if step.mixes), default=0)
    for place in range(len(steps) - 1, -1, -1):
        if place not in pending:
            continue
        rows, step = pending.pop(place), steps[place]
        if step.pull is None or place < last:
            total = total + step.interval.least(rows)
            continue
        rows, constant = step.pull(rows)
        total = total + constant
        for source in step.sources:
            pending[source] = pending[source] + rows if source in pending else rows
    return total.T


class _Leaves(fx.Tracer):
    """Keeps layers with a rule whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__name__ in _MONOTONE or super().is_leaf_module(m, module_qualified_name)


class _Pass:
    """One pass of intervals through a graph."""

    def __init__(self, model: nn.Module, images: Interval) -> None:
        self._model, self._steps = model, [Step(interval=images)]
        self._places: dict[fx.Node, int] = {}
        self._constants: dict[fx.Node, Any] = {}

    def run(self, graph: fx.Graph) -> list[Step]:
        for node in graph.nodes:
            if node.op == "placeholder":
                self._places[node] = 0
            elif node.op == "get_attr":
                self._constants[node] = operator.attrgetter(str(node.target))(self._model)
            elif node.op != "output":
                self._read(node)
            elif isinstance(node.args[0], fx.Node) and node.args[0] in self._places:
                return self._steps[: self._places[node.args[0]] + 1]
        raise NoBoundError("the output does not depend on the input")

    def _read(self, node: fx.Node) -> None:
        called = self._model.get_submodule(str(node.target)) if node.op == "call_module" else node.target
        name = type(called).__name__ if isinstance(called, nn.Module) else getattr(called, "__name__", str(called))
        arguments = fx.map_arg(node.args, self._value)
        options = fx.map_arg(node.kwargs, self._value)
        sources = tuple(self._places[one] for one in node.args if isinstance(one, fx.Node) and one in self._places)
        if not sources or name in ("size", "getattr", "dim"):
            plain = fx.map_arg(node.args, lambda one: self._lower(one))
            self._constants[node] = _call(node, called)(*plain, **options)
            return
        found = _apply(name.strip("_"), called, arguments, options, _call(node, called))
        if found is None:
            place = node.target if node.op == "call_module" else node.name
            mode = " in training mode" if isinstance(called, _NORMALISATIONS) else ""
            raise NoBoundError(f"{name}{mode} at {place}")
        interval, pull = found
        self._places[node] = len(self._steps)
        mixes = isinstance(called, (nn.Linear, nn.Conv2d)) or name == "linear"
        self._steps.append(Step(interval=interval, sources=sources, pull=pull, mixes=mixes))

    def _value(self, node: fx.Node) -> Any:
        return self._steps[self._places[node]].interval if node in self._places else self._constants[node]

    def _lower(self, node: fx.Node) -> Any:
        value = self._value(node)
        return value.lower if isinstance(value, Interval) else value


def _call(node: fx.Node, called: Any) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(Tensor, called) if node.op == "call_method" else called
    return function


def _apply(
    name: str, called: Any, arguments: tuple[Any, ...], options: dict[str, Any], function: Callable[..., Any]
) -> tuple[Interval, Pull | None] | None:
    """The rule of a layer; None if it has none."""
    first, *rest = arguments
    if isinstance(called, nn.Module):
        found = _layer(called, first)
        if found is not None:
            return found
    if len(rest) == 1 and name in _ARITHMETIC and not options:
        return _arithmetic(name, first, rest[0])
    if not isinstance(first, Interval) or any(isinstance(one, Interval) for one in rest):
        return None
    if name == "linear":
        return dense(first, *rest, **{"bias": None, **options} if len(rest) == 1 else options)
    if name == "relu":
        return rectified(first, 0.0)
    if name in _SHAPES:
        return reshaped(first, lambda one: function(one, *rest, **options))
    if name in _MONOTONE:
        lower, upper = (function(one.clone(), *rest, **options) for one in (first.lower, first.upper))
        return Interval(lower=lower, upper=upper), None
    return None


def _layer(layer: nn.Module, taken: Interval) -> tuple[Interval, Pull] | None:
    if isinstance(layer, nn.Linear):
        return dense(taken, layer.weight, layer.bias)
    if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        return convolved(taken, layer)
    if isinstance(layer, (nn.ReLU, nn.LeakyReLU)):
        return rectified(taken, getattr(layer, "negative_slope", 0.0))
    if isinstance(layer, _DROPOUTS):
        mask = layer(torch.ones_like(taken.lower))  # by the layer itself: ranks replace its forward method
        return scaled(taken, mask, torch.zeros_like(mask))
    if isinstance(layer, _NORMALISATIONS) and not layer.training and layer.running_mean is not None:
        return _normalised(taken, layer)
    return None


def _normalised(taken: Interval, layer: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Interval, Pull]:
    """Batch normalisation in evaluation mode, an affine map that its values at 0 and 1 give."""
    shape = (1, *taken.lower.shape[1:])
    shift = layer(taken.lower.new_zeros(shape))
    return scaled(taken, layer(taken.lower.new_ones(shape)) - shift, shift)


def _arithmetic(name: str, first: Any, second: Any) -> tuple[Interval, Pull] | None:
    """A sum of two results, or one result and a constant, as in the normalisation of inputs."""
    if isinstance(first, Interval) and isinstance(second, Interval):
        alike = first.lower.shape == second.lower.shape
        return added(first, second) if name in _SUMS and alike else None
    if not isinstance(first, Interval):
        return _arithmetic(name, second, first) if name in _SUMS | {"mul"} else None
    one = torch.ones_like(first.lower[:1])
    scale, shift = _ARITHMETIC[name](one, second)
    if (one * scale + shift).shape != one.shape:
        return None
    return scaled(first, one * scale, one * shift)


_ARITHMETIC: dict[str, Callable[[Tensor, Any], tuple[Any, Any]]] = {
    "add": lambda one, other: (1.0, one * other),
    "iadd": lambda one, other: (1.0, one * other),
    "sub": lambda one, other: (1.0, one * -other),
    "mul": lambda one, other: (other, 0.0),
    "truediv": lambda one, other: (1 / other, 0.0),
    "div": lambda one, other: (1 / other, 0.0),
}
"""Scale and shift of ``x op constant``."""
