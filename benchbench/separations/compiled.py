"""Typed compilation with numba, cached on disk so that each machine compiles once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar, cast

import numba
import torch

_F = TypeVar("_F", bound=Callable[..., object])


def compiled(function: _F) -> _F:
    """Compile one step of a kernel; LLVM inlines it into other compiled functions."""
    return _jit(function, parallel=False)


def compiled_parallel(function: _F) -> _F:
    """Compile a kernel whose ``numba.prange`` loops run on all cores, without Python's lock.

    Numba changes the caller's number of OpenMP threads, which torch also uses. It is restored, because float32 results and the
    provenance of rows depend on it.
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
    except RuntimeError:  # no folder for the cache is writable: compile in every process
        return cast(_F, numba.njit(parallel=parallel, nogil=True)(function))
