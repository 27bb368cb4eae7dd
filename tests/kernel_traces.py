"""A trace of the kernels that a step starts; on a CPU it stands in for a CUDA graph: a replay does no Python of the step's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves

from benchbench.kernels.graphs import Step

_MUTABLE_ALL_THE_SAME = (torch.ops.aten.native_batch_norm.default,)  # its schema keeps silent about running statistics

recorded: list[object] = []
"""The traces that were made, for tests to look at and to clear."""


def trace(step: Step) -> Step:
    """The kernels of a step, which tracing takes; so what it changed is put back."""
    changed: dict[int, tuple[Tensor, Tensor]] = {}

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
            handed = [a for a in tree_leaves((arguments, options)) if isinstance(a, Tensor)]
            for tensor in handed if operation._schema.is_mutable or operation in _MUTABLE_ALL_THE_SAME else ():
                changed.setdefault(tensor.data_ptr(), (tensor.detach(), tensor.detach().clone()))
            return operation(*arguments, **(options or {}))

    def traced() -> Tensor:
        with Watch():
            step()
        return torch.zeros(1)

    with torch.random.fork_rng():  # nor does a recording draw
        graph = make_fx(traced)()

    @torch.no_grad()
    def replay() -> None:
        graph()

    with torch.no_grad():
        for tensor, before in changed.values():
            tensor.copy_(before)
    recorded.append(graph)
    return replay
