"""A tensor that says it lies on a GPU and holds one on the CPU; every operation on it passes through `dispatch`."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tag, Tensor

from pretend_cuda import gpus, graphs
from pretend_cuda.rules import Call, check, launches
from pretend_cuda.tally import note


class PretendTensor(torch.Tensor):
    """A tensor on a pretend GPU."""

    _inner: Tensor
    _block: gpus.Block | None

    @staticmethod
    def __new__(cls, inner: Tensor, gpu: gpus.Gpu) -> PretendTensor:
        """Wrap a tensor of the CPU, whose memory the GPU now holds."""
        block = gpus.block_of(inner, gpu)
        made: PretendTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=gpu.device,
        )
        made._inner, made._block = inner, block
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, *args, **(kwargs or {}))

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        """With its counterpart makes `nn.Module.to` swap tensors, so that parameters stay the objects that they are."""
        return ["_inner"], None

    @staticmethod
    def __tensor_unflatten__(*_: object) -> NoReturn:
        raise NotImplementedError("nothing is compiled on the pretend device")

    def __repr__(self, **_: object) -> str:  # type: ignore[override]
        return f"{self._inner!r} on {self.device}"

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(_indices(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_indices(index), value)

    def numpy(self, **_: object) -> NoReturn:
        raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() first.")

    def __array__(self, *_: object, **__: object) -> NoReturn:
        self.numpy()

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def data_ptr(self) -> int:
        return self._inner.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self._inner.untyped_storage()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            with torch.no_grad():
                copy = self.detach().clone(memory_format=torch.preserve_format).requires_grad_(self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                copy._is_param = True  # type: ignore[attr-defined]
            memo[id(self)] = copy
        return memo[id(self)]  # type: ignore[no-any-return]

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise NotImplementedError("tensors of the pretend device cannot be pickled: use Tensor.cpu() first")

    @property  # type: ignore[override]
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, new: PretendTensor) -> None:
        torch.Tensor.data.__set__(self, new)  # type: ignore[attr-defined]
        self._inner, self._block = new._inner, new._block


PretendTensor.__module__ = "torch"  # eagerpy tells frameworks apart by it


def dispatch(func: Any, *args: Any, **kwargs: Any) -> Any:
    """Check, count and compute one operation, and say that its results lie on the GPU."""
    target = kwargs.get("device")
    if target is not None:
        target = torch.device(target)
        target = gpus.gpu_of(target).device if target.type == "cuda" else target
        kwargs["device"] = torch.device("cpu")
    kwargs.pop("pin_memory", None)
    call = Call(func, args, kwargs, target)
    check(call)
    _count(call)
    gpu = gpus.gpu_of(target if target is not None and target.type == "cuda" else call.on_device[0].device)
    outer = {id(tensor._inner): tensor for tensor in call.on_device}
    graph = graphs.current()
    drawing = gpu.generator if Tag.nondeterministic_seeded in func.tags else None
    run = _run if drawing is None else _Drawing(drawing)
    inside = _inside(args), {name: _inside(value) for name, value in kwargs.items()}
    result = run(func, *inside[0], **inside[1]) if graph is None else graph.record(run, func, *inside)
    if not call.to_host:
        result = _wrapped(result, gpu, outer)
    if func._schema.is_mutable:
        for tensor in call.on_device:
            if tensor.shape != tensor._inner.shape:
                tensor.data = PretendTensor(tensor._inner, gpu)
    return result


def _count(call: Call) -> None:
    number = launches(call)
    if number and not graphs.capturing():
        note("launches", call.name, number)
        if any(tensor.dtype == torch.float64 and tensor.dim() for tensor in call.on_device):
            note("float64", call.name, number)


def _run(func: Any, *args: Any, **kwargs: Any) -> Any:
    return func(*args, **kwargs)


class _Drawing:
    """Runs a function whose draws come from a generator of the GPU, or from the one that is passed."""

    def __init__(self, default: torch.Generator) -> None:
        self._default = default

    def __call__(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        generator = kwargs.pop("generator", None) or self._default
        before = torch.default_generator.get_state()
        torch.default_generator.set_state(generator.get_state())
        try:
            return func(*args, **kwargs)
        finally:
            generator.set_state(torch.default_generator.get_state())
            torch.default_generator.set_state(before)


def _inside(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_inside(one) for one in value]
    return value._inner if isinstance(value, PretendTensor) else value


def _wrapped(value: Any, gpu: gpus.Gpu, outer: dict[int, Tensor]) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)([_wrapped(one, gpu, outer) for one in value])
    if not isinstance(value, Tensor):
        return value
    return outer[id(value)] if id(value) in outer else PretendTensor(value, gpu)


def _indices(index: Any) -> Any:
    """Lists and ranges within an index as tensors of the CPU, as torch takes them."""
    if isinstance(index, tuple):
        return tuple(torch.tensor(list(part)) if isinstance(part, (list, range)) else part for part in index)
    return torch.tensor(list(index)) if isinstance(index, (list, range)) and len(index) else index
