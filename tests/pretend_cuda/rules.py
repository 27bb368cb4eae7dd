"""What CUDA refuses, what it waits for, what it copies, and how many kernels an operation takes."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tag, Tensor

from pretend_cuda import graphs
from pretend_cuda.tally import note, place

LAUNCHES = {  # estimates, where an operation takes another number than one
    **dict.fromkeys(("_unsafe_view", "lift_fresh", "is_same_size", "empty", "empty_like", "empty_strided"), 0),
    **dict.fromkeys(("new_empty", "new_empty_strided", "_has_compatible_shallow_copy_type"), 0),
    **dict.fromkeys(("native_batch_norm", "native_batch_norm_backward", "scatter", "cumsum"), 2),
    **dict.fromkeys(("nll_loss_backward", "max_pool2d_with_indices_backward"), 2),  # the first fills with zeros
    **dict.fromkeys(("sort", "argsort", "topk", "randperm"), 3),
    **dict.fromkeys(("nonzero", "masked_select"), 4),
    "_unique2": 6,
}
INDEXING = ("index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put")
TAKE_HOST_SCALARS = ("masked_fill", "masked_fill_", "fill_")  # besides pointwise operations
NO_INTEGERS = ("mm", "addmm", "bmm", "baddbmm", "convolution")


class Call:
    """One call of an operator.

    Attributes:
        name: of the operator, without namespace and overload.
        leaves: all arguments, lists taken apart.
        on_device: the pretend tensors among them.
        on_host: the tensors of the CPU among them.
        target: the device that is asked for by name, with its index.
    """

    def __init__(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], target: torch.device | None) -> None:
        self.func, self.args, self.kwargs, self.target = func, args, kwargs, target
        self.name: str = func._schema.name.partition("::")[2]
        self.leaves = flat((*args, *kwargs.values()))
        tensors = [leaf for leaf in self.leaves if isinstance(leaf, Tensor)]
        self.on_device = [tensor for tensor in tensors if tensor.is_cuda]
        self.on_host = [tensor for tensor in tensors if not tensor.is_cuda]

    @property
    def to_host(self) -> bool:
        """Whether the result lies on the CPU."""
        return self.target is not None and self.target.type == "cpu"

    def refuse(self, reason: str, kind: type[Exception] = RuntimeError) -> NoReturn:
        """Raise what CUDA would, with the place."""
        raise kind(f"{reason} ({self.func} at {place()})")


def flat(values: Any) -> list[Any]:
    """Arguments or results of an operator in one list; they nest one list deep."""
    found: list[Any] = []
    for value in values:
        found.extend(value) if isinstance(value, (list, tuple)) else found.append(value)
    return found


def check(call: Call) -> None:
    """Refuse what CUDA refuses, and count what the host waits for.

    Raises:
        RuntimeError: the call mixes devices or takes a generator of another device, or it waits while a graph is captured.
        NotImplementedError: CUDA has no kernel for the type of numbers.
    """
    if not call.on_device and (call.target is None or call.to_host):
        call.refuse("Expected a 'cpu' device type for generator but found 'cuda'")
    if call.name in ("_to_copy", "copy_"):
        _check_transfer(call)
        return
    _check_devices(call)
    for leaf in call.leaves:
        if isinstance(leaf, torch.Generator):
            if leaf.device.type != "cuda":
                call.refuse("Expected a 'cuda' device type for generator but found 'cpu'")
            if graphs.capturing():
                call.refuse("a generator that the graph does not know is drawn from while it is captured")
    if call.name in NO_INTEGERS and not call.on_device[0].is_floating_point():
        call.refuse(f"not implemented on CUDA for {call.on_device[0].dtype}", NotImplementedError)
    if _waits(call):
        wait("syncs", call.name)


def wait(kind: str, what: str) -> None:
    """Count a synchronisation or a pageable copy, which no graph can capture.

    Raises:
        RuntimeError: a graph is being captured.
    """
    graphs.forbid(what)
    note(kind, what)


def _check_transfer(call: Call) -> None:
    source = call.args[1 if call.name == "copy_" else 0]
    into_host = call.to_host if call.name == "_to_copy" else not call.args[0].is_cuda
    if source.is_cuda and into_host:
        if call.kwargs.get("non_blocking"):
            note("copies", "to the host, non-blocking")
        else:
            wait("syncs", "copy to the host")
    elif not source.is_cuda:
        wait("copies", "copy from the host")


def _check_devices(call: Call) -> None:
    devices = {str(tensor.device) for tensor in call.on_device}
    strangers = [tensor for tensor in call.on_host if tensor.dim() or not _takes_host_scalars(call)]
    if call.name in INDEXING and call.args[0].is_cuda:
        indices = [tensor for tensor in call.on_host if any(tensor is index for index in call.args[1])]
        for _ in indices:
            wait("copies", "index from the host")
        strangers = [t for t in call.on_host if t.dim() and not any(t is index for index in indices)]
    elif call.on_host and call.name.endswith("_") and not call.args[0].is_cuda:  # in place, on the CPU
        strangers = call.on_host
    if call.target is not None and call.name.endswith("_like"):
        strangers = []  # only the shape is taken
    found = sorted(devices | ({"cpu"} if strangers else set()))
    if len(found) > 1:
        call.refuse(
            f"Expected all tensors to be on the same device, but found at least two devices, {found[0]} and {found[1]}!"
        )


def _takes_host_scalars(call: Call) -> bool:
    pointwise = Tag.pointwise in call.func.tags and call.name != "equal"
    return pointwise or call.name in TAKE_HOST_SCALARS or call.name.startswith(("_foreach", "_fused"))


def _waits(call: Call) -> bool:
    """Whether the shape or the value of the result is known to the device alone."""
    if call.name in INDEXING:
        masks = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in call.args[1])
        filled = call.name == "index_put_" and call.args[2].numel() == 1 and not any(call.args[3:])
        return masks and not filled
    if call.name == "repeat_interleave":
        return call.kwargs.get("output_size") is None
    tags = call.func.tags
    return Tag.data_dependent_output in tags or Tag.dynamic_output_shape in tags or call.name == "_linalg_check_errors"


def launches(call: Call) -> int:
    """About how many kernels CUDA would launch."""
    if call.func.is_view or Tag.inplace_view in call.func.tags:
        return 0
    if call.name == "convolution":
        return 1 if call.args[2] is None else 2
    if call.name == "convolution_backward":
        return sum(call.args[-1])  # of inputs, weights and bias, those whose gradient is asked for
    return LAUNCHES.get(call.name, 1)
