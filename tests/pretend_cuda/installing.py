"""Puts the pretend device in the place of torch's CUDA."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from pretend_cuda import gpus, graphs, tally
from pretend_cuda.rules import wait
from pretend_cuda.tensor import PretendTensor, dispatch

_libraries: list[Any] = []  # what is registered ends with them


def installed() -> bool:
    """Whether this process has the pretend device."""
    return bool(_libraries)


def install() -> None:
    """Give this process the device, for good; `pretend_cuda.guard.load` comes first, and torch after it."""
    everything, aten = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    everything.fallback(dispatch, "CUDA")  # what makes tensors there; the tensors themselves see operations on them
    aten.impl("copy_", functools.partial(dispatch, torch.ops.aten.copy_.default), "CUDA")  # for `torch.tensor`
    _libraries.extend((everything, aten))
    torch.autograd.set_multithreading_enabled(False)
    for place, names in _replacements().items():
        for name, value in names.items():
            setattr(place, name, value)
    folder = os.environ.get("BENCHBENCH_PRETEND_CUDA_REPORT")
    if folder:
        _report_to(Path(folder))


def _report_to(folder: Path) -> None:
    """Count all that this process does, and write it to a folder when the process ends, by `os._exit` as well."""
    counting, leave = contextlib.ExitStack(), os._exit
    counted = counting.enter_context(tally.counting())

    def write() -> None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all GPUs")
        folder.mkdir(parents=True, exist_ok=True)
        text = f"{' '.join(sys.argv)}\nCUDA_VISIBLE_DEVICES: {visible}\n{counted.report()}\n"
        (folder / f"{os.getpid()}.txt").write_text(text)

    def write_and_leave(status: int) -> None:
        write()
        leave(status)

    atexit.register(write)
    atexit.register(counting.close)  # runs first, and keeps the counting from ending before
    os._exit = write_and_leave  # type: ignore[assignment]


def _replacements() -> dict[Any, dict[str, Any]]:
    seeding = {"manual_seed": _seed, "manual_seed_all": _seed, "get_rng_state": _state, "set_rng_state": _set_state}
    graphing = {"CUDAGraph": graphs.CUDAGraph, "graph": graphs.graph}
    cuda = torch.cuda
    return {
        cuda: {**_devices(), **_memory(), **_streams(), **seeding, **graphing},
        cuda.random: seeding,
        cuda.graphs: graphing,
        cuda.memory: _memory(),
        torch.backends.cuda: {"is_built": _always(True)},
        torch.utils: {"swap_tensors": _move},
    }


def _move(held: torch.Tensor, new: torch.Tensor) -> None:
    """Let a parameter that a module holds become a new one, whoever else refers to it; stands for `swap_tensors`."""
    if isinstance(held, PretendTensor) and isinstance(new, PretendTensor):
        held.data = new
        return
    held.__class__, new.__class__ = new.__class__, held.__class__
    held.__dict__, new.__dict__ = new.__dict__, held.__dict__
    torch._C._swap_tensor_impl(held, new)  # type: ignore[attr-defined]


def _devices() -> dict[str, Any]:
    return {
        "is_available": _always(True),
        "is_initialized": _always(True),
        "is_bf16_supported": _always(True),
        "_is_in_bad_fork": _always(False),
        "init": _always(None),
        "_lazy_init": _always(None),
        "_lazy_call": lambda act, **_: act(),
        "device_count": lambda: len(gpus.GPUS),
        "current_device": gpus.current,
        "set_device": gpus.set_current,
        "device": gpus.on,
        "get_device_name": _always(gpus.NAME),
        "get_device_capability": _always((9, 0)),
        "get_device_properties": _properties,
        "default_generators": tuple(gpu.generator for gpu in gpus.GPUS),
        "synchronize": lambda *_: wait("syncs", "synchronize"),
    }


def _properties(device: Any = None) -> SimpleNamespace:
    gpu = gpus.gpu_of(device)
    return SimpleNamespace(name=gpus.NAME, total_memory=gpu.total, major=9, minor=0, multi_processor_count=132)


def _memory() -> dict[str, Any]:
    def reset_peak(device: Any = None) -> None:
        gpu = gpus.gpu_of(device)
        gpu.peak = gpu.allocated

    def allocated(device: Any = None) -> int:
        return gpus.gpu_of(device).allocated

    def peak(device: Any = None) -> int:
        return gpus.gpu_of(device).peak

    return {
        "empty_cache": _always(None),
        "mem_get_info": lambda device=None: (gpus.gpu_of(device).free(), gpus.gpu_of(device).total),
        "memory_allocated": allocated,
        "memory_reserved": allocated,
        "max_memory_allocated": peak,
        "max_memory_reserved": peak,
        "reset_peak_memory_stats": reset_peak,
    }


def _seed(seed: int) -> None:
    graphs.forbid("manual_seed")
    for gpu in gpus.GPUS:
        gpu.generator.manual_seed(int(seed))


def _state(device: Any = None) -> torch.Tensor:
    return gpus.gpu_of(device).generator.get_state()


def _set_state(state: torch.Tensor, device: Any = None) -> None:
    gpus.gpu_of(device).generator.set_state(state)


def _streams() -> dict[str, Any]:
    return {
        "Stream": _Stream,
        "Event": _Event,
        "current_stream": _Stream,
        "default_stream": _Stream,
        "stream": contextlib.nullcontext,
        "is_current_stream_capturing": graphs.capturing,
    }


class _Stream:
    """A stream whose work is always done already."""

    def __init__(self, *_: object, **__: object) -> None:
        self.cuda_stream = 0
        self.device = gpus.gpu_of().device

    def wait_stream(self, _: object) -> None:
        """Nothing is under way."""

    def synchronize(self) -> None:
        """The host would wait."""
        wait("syncs", "Stream.synchronize")


class _Event:
    """A moment."""

    def __init__(self, *_: object, **__: object) -> None:
        self._moment = 0.0

    def record(self, *_: object) -> None:
        """Now."""
        self._moment = time.perf_counter()

    def elapsed_time(self, other: _Event) -> float:
        """Milliseconds until another moment."""
        return (other._moment - self._moment) * 1e3

    def synchronize(self) -> None:
        """The host would wait."""
        wait("syncs", "Event.synchronize")


def _always(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value
