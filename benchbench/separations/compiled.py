"""Compilation with numba, typed, and cached on disk so that it is paid once per machine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar, cast

import numba
import torch

_F = TypeVar("_F", bound=Callable[..., object])


def compiled(function: _F) -> _F:
    """Compile one step of a kernel; called from other compiled functions, it is inlined by LLVM."""
    return _jit(function, parallel=False)


def compiled_parallel(function: _F) -> _F:
    """Compile a kernel whose ``numba.prange`` loops run on all cores; Python's lock is released meanwhile.

    Numba sets the number of OpenMP threads of the caller, which torch uses, too: it is given back, since float32 results and
    the provenance of rows depend on it.
    """
    kernel = _jit(function, parallel=True)

    @functools.wraps(function)
    def run(*arguments: object) -> object:
        threads = torch.get_num_threads()
        try:
            return kernel(*arguments)
        finally:
            torch.set_num_threads(threads)

    return cast(_F, run)


def _jit(function: _F, *, parallel: bool) -> _F:
    try:
        return cast(_F, numba.njit(parallel=parallel, nogil=True, cache=True)(function))
    except RuntimeError:  # neither the package's folder nor the home can be written: compile in every process
        return cast(_F, numba.njit(parallel=parallel, nogil=True)(function))
