"""Read a module into a `Network` by torch.fx; the error names a layer that has no rule."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from benchbench.bounds.enclosures import point_enclosure
from benchbench.bounds.layers import FUNCTIONS, LAYERS, Builder, Call
from benchbench.bounds.network import Network
from benchbench.errors import PLUGIN_FAULTS, NoBoundError

_CLOSE = 1e-3  # relative to the largest logit: far above rounding, far below another function
_SHAPE = frozenset(
    {"size", "dim", "ndimension", "numel", "getattr"}
)  # what may be asked about a tensor, besides tensors


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """A network, and whether its float32 rounding errors are those that bounds allow for."""

    network: Network
    rounded: bool


def read_network(module: nn.Module, inputs: Tensor) -> Reading:
    """The steps of a module in evaluation mode, for inputs like the given float32 (N, ...).

    The module's logits on these inputs must lie in the intervals of the steps' rounding errors. If they only nearly do, because
    convolutions are transformed (Winograd) or multiplications use fewer bits, bounds hold in real arithmetic only. So they do
    for convolutions on a GPU, whose algorithm is not known.

    Raises:
        NoBoundError: a layer has no rule, for instance ``GELU at blocks.0.act``; the module cannot be traced, or its forward
            method depends on its input, or draws random numbers.
    """
    try:
        graph = fx.symbolic_trace(module).graph
    except PLUGIN_FAULTS as error:  # any that the module's code raises
        raise NoBoundError(f"the module cannot be traced ({type(error).__name__}: {error})") from error
    with torch.no_grad():
        network = _Reader(module, inputs[:2].clone()).read(graph)  # a module may change its images in place
        logits, again = (module(inputs.clone()).double() for _ in range(2))
        inside = point_enclosure(network, inputs)
    if logits.shape != inside.lower[-1].shape:
        raise NoBoundError(
            f"its logits have shape {tuple(logits.shape)}, read layer by layer {tuple(inside.lower[-1].shape)}"
        )
    beyond = torch.maximum(inside.lower[-1] - logits, logits - inside.upper[-1])
    if not torch.equal(logits, again):
        raise NoBoundError("the module gives other logits the second time")
    if float(beyond.max()) > _CLOSE * float(logits.abs().max()):
        raise NoBoundError("its layers, read one by one, give other logits than the module")
    transformed = inputs.device.type != "cpu" and any(step.transformed for step in network.steps)
    return Reading(network=network, rounded=bool((beyond <= 0).all()) and not transformed)


class _Reader:
    """Computes the nodes of a graph on some inputs, and adds their steps."""

    def __init__(self, module: nn.Module, inputs: Tensor) -> None:
        self._module, self._inputs = module, inputs
        self._builder = Builder(tuple(inputs.shape[1:]), inputs.device)
        self._values: dict[fx.Node, Any] = {}
        self._places: dict[fx.Node, int] = {}
        self._versions: dict[fx.Node, int] = {}  # of the values that are tensors, when they were computed

    def read(self, graph: fx.Graph) -> Network:
        """The network up to the graph's output."""
        for node in graph.nodes:
            self._refuse_overwritten(node)
            if node.op == "placeholder":
                self._take_input(node)
            elif node.op != "output":
                self._read_node(node)
            elif isinstance(node.args[0], fx.Node) and node.args[0] in self._places:
                return self._builder.network(self._places[node.args[0]])
            if isinstance(value := self._values.get(node), Tensor):
                self._versions[node] = value._version
        raise NoBoundError("the output does not depend on the input")

    def _refuse_overwritten(self, node: fx.Node) -> None:
        """Raise NoBoundError for a value changed in place: its steps give the earlier one."""
        for one in node.all_input_nodes:
            if self._versions.get(one, 0) != getattr(self._values.get(one), "_version", 0):
                raise NoBoundError(f"{node.name} takes {one.name} after it was changed in place")

    def _take_input(self, node: fx.Node) -> None:
        if not self._places:
            self._places[node], self._values[node] = 0, self._inputs
        elif node.args:
            self._values[node] = node.args[0]
        else:
            raise NoBoundError(f"the module takes a second input, {node.target!r}")

    def _read_node(self, node: fx.Node) -> None:
        called = self._called(node)
        arguments = fx.map_arg(node.args, self._values.__getitem__)
        options = fx.map_arg(node.kwargs, self._values.__getitem__)
        self._values[node] = called if node.op == "get_attr" else called(*arguments, **options)
        taken = {one for one in node.all_input_nodes if one in self._places}
        name = type(called).__name__ if node.op == "call_module" else getattr(called, "__name__", "").strip("_")
        if not taken or (not isinstance(self._values[node], Tensor) and name in _SHAPE):
            return
        sources = [self._places.get(one) if isinstance(one, fx.Node) else None for one in node.args]
        rule = LAYERS.get(type(called)) if node.op == "call_module" else FUNCTIONS.get(name)
        call = Call(
            name=f"{node.target}" if node.op == "call_module" else node.name,
            called=called,
            arguments=tuple(arguments),
            options=dict(options),
            sources=tuple(sources),
            result=self._values[node],
        )
        known = rule is not None and taken <= {*node.args} and _is_batched(call)
        found = rule(self._builder, call) if rule is not None and known else None
        if found is None:
            raise NoBoundError(f"{name} at {call.name}")
        self._places[node] = found

    def _called(self, node: fx.Node) -> Any:
        target = str(node.target)
        if node.op == "call_module":
            return self._module.get_submodule(target)
        if node.op == "get_attr":
            return operator.attrgetter(target)(self._module)
        return getattr(Tensor, target) if node.op == "call_method" else node.target


def _is_batched(call: Call) -> bool:
    """Whether the result has one entry for each input of the batch."""
    sources = [one for one in call.sources if one is not None]
    if not sources or not isinstance(call.result, Tensor) or not call.result.dim():
        return False
    return len(call.result) == len(call.arguments[call.sources.index(sources[0])])
