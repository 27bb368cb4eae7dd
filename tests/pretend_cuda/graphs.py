"""CUDA graphs: what is called during a capture is put on a tape without changing anything; a replay plays the tape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pretend_cuda import gpus, tally

Run = Callable[..., Any]
WRITE_SILENTLY = {"native_batch_norm": (3, 4)}  # positions of arguments that change, whatever the schema says

_capture: CUDAGraph | None = None


def capturing() -> bool:
    """Whether a graph is being captured."""
    return _capture is not None


def forbid(what: str) -> None:
    """Break the graph that is being captured, if any, because of something that no stream does by itself.

    Raises:
        RuntimeError: one is.
    """
    if _capture is not None:
        raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({what} at {tally.place()})")


def current() -> CUDAGraph | None:
    """The graph that is being captured."""
    return _capture


class CUDAGraph:
    """Stands for `torch.cuda.CUDAGraph`."""

    def __init__(self, keep_graph: bool = False) -> None:
        self._tape: list[tuple[Run, Any, Any, list[Tensor]]] = []
        self._own: dict[int, Tensor] = {}  # made while capturing, by the address of their memory
        self._states: list[Tensor] = []
        self._pool: gpus.Block | None = None

    def capture_begin(self, *_: object, **__: object) -> None:
        """Put calls on the tape from now on."""
        global _capture
        forbid("another capture")
        self._states = [gpu.generator.get_state() for gpu in gpus.GPUS]
        self._gpu = gpus.gpu_of()
        self._peak, self._gpu.peak = self._gpu.peak, self._gpu.allocated
        _capture = self

    def capture_end(self) -> None:
        """Calls are taken again; the generators have not moved, and what the graph needs at most it keeps."""
        global _capture
        _capture = None
        self._own.clear()
        self._pool = gpus.Block(self._gpu, self._gpu.peak - self._gpu.allocated)
        self._gpu.peak = max(self._peak, self._gpu.peak)
        for gpu, state in zip(gpus.GPUS, self._states):
            gpu.generator.set_state(state)
        tally.note_capture()

    def record(self, run: Run, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function, on copies of what others see it write to: its results have their shapes, and nothing changes."""
        if torch.Tag.inplace_view in func.tags:
            return run(func, *args, **kwargs)
        written = [tensor for tensor in _written(func, args, kwargs) if not self._is_own(tensor)]
        copies = {id(tensor): (tensor, tensor.clone()) for tensor in written}
        result = run(func, *_swap(args, copies), **_swap(kwargs, copies))
        result = _swap(result, {id(copy): (copy, tensor) for tensor, copy in copies.values()})
        if not func.is_view:
            new = () if copies else _tensors(result)
            self._own.update({tensor.untyped_storage().data_ptr(): tensor for tensor in new})
            if "empty" not in func._schema.name:
                self._tape.append((run, func, (args, kwargs), _tensors(result)))
        return result

    def _is_own(self, tensor: Tensor) -> bool:
        """Whether a tensor lies in memory that the capture has allocated: nobody else sees what is written there."""
        storage = tensor.untyped_storage()
        return storage.nbytes() == 0 or storage.data_ptr() in self._own

    def replay(self) -> None:
        """Call everything again, and write the results to where they were."""
        tally.note("launches", "replay")
        with torch.no_grad():
            for run, func, (args, kwargs), outputs in self._tape:
                for old, new in zip(outputs, _tensors(run(func, *args, **kwargs))):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new)

    def reset(self) -> None:
        """Forget the tape, and give back its memory."""
        self._tape, self._pool = [], None

    def pool(self) -> tuple[int, int]:
        """The handle of its memory."""
        return (0, 0)


class graph:  # noqa: N801
    """Stands for `torch.cuda.graph`: a block whose calls are captured. One that raised is no graph."""

    def __init__(self, cuda_graph: CUDAGraph, *_: object, **__: object) -> None:
        self._graph = cuda_graph

    def __enter__(self) -> None:
        tally.note("syncs", "capture")
        self._graph.capture_begin()

    def __exit__(self, kind: object, *_: object) -> None:
        self._graph.capture_end()
        if kind is not None:
            self._graph.reset()
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    silently = WRITE_SILENTLY.get(func._schema.name.partition("::")[2], ())
    found: list[Any] = [args[position] for position in silently]
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found.append(kwargs.get(argument.name, args[position] if position < len(args) else None))
    return _tensors(found)


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    return [tensor for value in values for tensor in _tensors(value)] if isinstance(values, (list, tuple)) else []


def _swap(values: Any, pairs: dict[int, tuple[Tensor, Tensor]]) -> Any:
    """The values with some of the tensors in them replaced."""
    if isinstance(values, (list, tuple)):
        return type(values)(_swap(value, pairs) for value in values)
    if isinstance(values, dict):
        return {name: _swap(value, pairs) for name, value in values.items()}
    return pairs[id(values)][1] if id(values) in pairs else values
