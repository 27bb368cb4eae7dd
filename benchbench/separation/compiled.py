"""Compilation with numba, typed, and cached on disk so that it is paid once per machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., object])


def compiled(function: _F) -> _F:
    """Compile one step of a kernel; called from other compiled functions, it is inlined by LLVM."""
    return _jit(function, parallel=False)


def compiled_parallel(function: _F) -> _F:
    """Compile a kernel whose ``numba.prange`` loops run on all cores; Python's lock is released meanwhile."""
    return _jit(function, parallel=True)


def _jit(function: _F, *, parallel: bool) -> _F:
    try:
        return cast(_F, numba.njit(parallel=parallel, nogil=True, cache=True)(function))
    except RuntimeError:  # neither the package's folder nor the home can be written: compile in every process
        return cast(_F, numba.njit(parallel=parallel, nogil=True)(function))
