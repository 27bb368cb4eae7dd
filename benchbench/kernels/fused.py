"""Several elementwise steps as one CUDA kernel: launches cost more than small kernels.

Each function is a torch operator, ``benchbench::...``. On CUDA it is one kernel, which torch's jiterator compiles from
``fused.cu``. Plain operations replace it elsewhere, and where the kernel does not compile or gives other numbers. Only code
for CUDA calls these operators, because a CPU has no launches to save.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from benchbench.kernels.hashing import GOLDEN, mix

_log = logging.getLogger(__name__)
Values = Tensor | tuple[Tensor, ...]
Compute = Callable[..., Values]

SOURCES = {
    re.search(r"(\w+)\(", source)[1]: f"template{source}"  # type: ignore[index]
    for source in Path(__file__).with_suffix(".cu").read_text(encoding="utf-8").split("template")[1:]
}
"""CUDA source of each kernel by its name: a function of one element."""


def add_relu(values: Tensor, bias: Tensor) -> Tensor:
    """Return ReLU(values + bias), broadcast."""
    return _launch("add_relu", (values, bias))


def pool_relu(values: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ReLU of each 2x2 window's largest value plus a bias, and that value's place.

    The bias is (C,), the values are (N, H, W, C), both results (N, H / 2, W / 2, C). Places count row by row; 4 stands for a
    ReLU that gives 0.
    """
    windows = [values[:, row::2, column::2] for row in range(2) for column in range(2)]
    found: tuple[Tensor, Tensor] = torch.ops.benchbench.pool_relu(*windows, bias)
    return found


def unpool(gradient: Tensor, places: Tensor) -> Tensor:
    """Return the gradient (N, H, W, C) of `pool_relu`'s values from that of its result."""
    count, height, width, channels = gradient.shape
    here = _places(gradient.dtype, gradient.device)
    spread = [part.view(count, height, 1, width, 1, channels) for part in (gradient, places)]
    return _launch("unpool", (*spread, here)).reshape(count, 2 * height, 2 * width, channels)


def pass_scaled(gradient: Tensor, output: Tensor, scale: float) -> Tensor:
    """Return a gradient times a scale where an output is above 0, elsewhere 0."""
    return _launch("pass_scaled", (gradient, output), scale=scale)


@functools.cache
def _places(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.arange(4, dtype=dtype, device=device).view(1, 1, 2, 1, 2, 1)


def sign_step(points: Tensor, gradient: Tensor, lowest: Tensor, highest: Tensor, length: float) -> Tensor:
    """Move points by `length` along the signs of a gradient and clamp them."""
    return _launch("sign_step", (points, gradient, lowest, highest), length=length)


def keyed_bits(rows: Tensor, keys: Tensor, elements: Tensor) -> Tensor:
    """Return the int64 hash of contract.seeds' `KeyedGenerator`, broadcast over its arguments."""
    return _launch("keyed_bits", (rows, keys, elements))


def _plain_pool_relu(*given: Tensor) -> tuple[Tensor, Tensor]:
    *windows, bias = given
    largest, places = torch.stack(windows).max(dim=0)
    values = (largest + bias).relu_()
    return values, torch.where(values == 0, 4, places).to(values.dtype)


PLAIN: dict[str, Compute] = {
    "add_relu": lambda values, bias: (values + bias).relu_(),
    "pool_relu": _plain_pool_relu,
    "unpool": lambda gradient, places, here: torch.where(places == here, gradient, 0.0),
    "pass_scaled": lambda gradient, output, *, scale: torch.where(output > 0, gradient * scale, 0.0),
    "sign_step": lambda points, gradient, lowest, highest, *, length: torch.clamp(
        points.add(gradient.sign(), alpha=length), lowest, highest
    ),
    "keyed_bits": lambda rows, keys, elements: mix(mix(rows * GOLDEN + keys) + elements * GOLDEN),
}
"""What each kernel computes, as torch operations."""
_SCHEMAS = {
    "add_relu": "(Tensor values, Tensor bias) -> Tensor",
    "pool_relu": "(Tensor first, Tensor second, Tensor third, Tensor fourth, Tensor bias) -> (Tensor, Tensor)",
    "unpool": "(Tensor gradient, Tensor places, Tensor here) -> Tensor",
    "pass_scaled": "(Tensor gradient, Tensor output, *, float scale) -> Tensor",
    "sign_step": "(Tensor points, Tensor gradient, Tensor lowest, Tensor highest, *, float length) -> Tensor",
    "keyed_bits": "(Tensor rows, Tensor keys, Tensor elements) -> Tensor",
}

_OPTIONS = {"pass_scaled": ("scale",), "sign_step": ("length",)}  # numbers that follow the tensors


def _launch(name: str, tensors: Sequence[Tensor], **options: float) -> Tensor:
    result: Tensor = getattr(torch.ops.benchbench, name)(*tensors, **options)
    return result


def _compute(name: str, *tensors: Tensor, **options: float) -> Values:
    if not tensors[0].is_cuda:
        return PLAIN[name](*tensors, **options)
    return _kernel(name, tensors[0].dtype, tensors[0].device)(*tensors, **options)


@functools.cache
def _kernel(name: str, dtype: torch.dtype, device: torch.device) -> Compute:
    """Return the kernel if it compiles and equals the plain operations; else those."""
    plain = PLAIN[name]
    try:
        compiled = _compiled(name)
        numbers = torch.arange(-24, 24, device=device)
        given = [numbers.roll(3 * place).to(dtype) for place in range(_SCHEMAS[name].split("->")[0].count("Tensor"))]
        options = dict.fromkeys(_OPTIONS.get(name, ()), 0.5)
        if _is_same(compiled(*given, **options), plain(*given, **options)):
            return compiled
        reason: object = "it gives other numbers"
    except (RuntimeError, AttributeError, ImportError) as error:
        reason = error
    _log.warning("%s runs as plain operations on %s: %s", name, device, reason)
    return plain


def _compiled(name: str) -> Compute:
    from torch.cuda import jiterator

    source = SOURCES[name].strip()
    options = dict.fromkeys(_OPTIONS.get(name, ()), 0.0)
    if name == "pool_relu":
        several: Compute = jiterator._create_multi_output_jit_fn(source, num_outputs=2, **options)
        return several
    single: Compute = jiterator._create_jit_fn(source, **options)
    return single


def _is_same(found: Values, expected: Values) -> bool:
    ours, theirs = (values if isinstance(values, tuple) else (values,) for values in (found, expected))
    return all(map(torch.equal, ours, theirs))


class _Library(Protocol):
    """What torch does not annotate of a library of operators."""

    def define(self, schema: str) -> object: ...

    def impl(self, name: str, function: Compute, key: str) -> object: ...


_library: _Library = torch.library.Library("benchbench", "FRAGMENT")  # type: ignore[no-untyped-call]
for _name, _schema in _SCHEMAS.items():
    _library.define(f"{_name}{_schema}")
    _library.impl(_name, functools.partial(_compute, _name), "CompositeExplicitAutograd")
