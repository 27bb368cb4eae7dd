"""Bit tables: for a pixel and a cut, which references have a value of at least the cut.

A reference cannot be closer than ``bound`` to a query if one of its pixels differs by ``bound`` or more. Whether it does is
one bit per reference, pixel and cut, so one machine instruction tests 512 references. Cuts are quantiles, so that rounding to
the next cut (always towards keeping a reference) overlooks at most one reference in `BINS` per pixel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray

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


PIXELS = 256  # pixels with a table: those of highest variance
BINS = 16  # at most 1/16 of the references lies between two cuts, unless they share one value
CUTS = 2 * BINS
WORDS = 32  # 64-bit words per tile: 2,048 references
TILE = 64 * WORDS
NO_ROW = -1

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class BitTables:
    """The tables of a set of references.

    Attributes:
        rows: uint64 (tiles, pixels * CUTS, WORDS); bit k of word w in tile t is set if reference t * TILE + 64 * w + k has a
            value of at least the row's cut.
        at_most: int32 (pixels, 256); for a value v the row of the largest cut <= v + 1, whose complement holds only
            references of at most v, or `NO_ROW`.
    """

    rows: U64
    counts: I64  # int64 (pixels * CUTS,), number of references in each row
    at_least: I32  # int32 (pixels, 256); for a value v the row of the smallest cut >= v, or `NO_ROW`
    at_most: I32
    others: U64  # uint64 (classes, tiles, WORDS), the references of every class but one


def build_tables(pixels: U8, labels: I64, classes: int) -> BitTables:
    """Build tables of (N, D) in columns of decreasing variance, labels (N,) in [0, classes)."""
    columns = np.ascontiguousarray(pixels[:, :PIXELS].T)
    tiles = -(-len(pixels) // TILE)
    cuts = _choose_cuts(columns)
    rows = np.zeros((tiles, len(columns) * CUTS, WORDS), dtype=np.uint64)
    _fill_rows(columns, cuts, rows)
    at_least, at_most = _look_up_tables(cuts)
    return BitTables(
        rows=rows,
        counts=np.bitwise_count(rows).sum(axis=(0, 2), dtype=np.int64),
        at_least=at_least,
        at_most=at_most,
        others=_bits_of_others(labels, classes, tiles),
    )


@compiled
def _choose_cuts(columns: U8) -> I64:
    """Cuts of each pixel: bins of one value or at most 1/`BINS` of the references; 256: unused."""
    cuts = np.full((columns.shape[0], CUTS), 256, dtype=np.int64)
    most = columns.shape[1] // BINS
    for pixel in range(columns.shape[0]):
        histogram = np.zeros(256, dtype=np.int64)
        for value in columns[pixel]:
            histogram[value] += 1
        used, mass = 0, 0
        for value in range(256):
            if mass > 0 and mass + histogram[value] > most and used < CUTS:
                cuts[pixel, used] = value
                used += 1
                mass = 0
            mass += histogram[value]
    return cuts


@compiled_parallel
def _fill_rows(columns: U8, cuts: I64, rows: U64) -> None:
    """Set the bit of each reference's highest cut, then copy bits of higher cuts to lower ones."""
    for pixel in numba.prange(columns.shape[0]):
        bin_of = np.searchsorted(cuts[pixel], np.arange(256), side="right") - 1
        first = pixel * CUTS
        for reference in range(columns.shape[1]):
            cut = bin_of[columns[pixel, reference]]
            if cut >= 0:
                tile, place = divmod(reference, TILE)
                rows[tile, first + cut, place // 64] |= np.uint64(1) << np.uint64(place % 64)
        for tile in range(rows.shape[0]):
            for cut in range(CUTS - 2, -1, -1):
                for word in range(WORDS):
                    rows[tile, first + cut, word] |= rows[tile, first + cut + 1, word]


def _look_up_tables(cuts: I64) -> tuple[I32, I32]:
    values = np.arange(256)
    at_least = np.full((len(cuts), 256), NO_ROW, dtype=np.int32)
    at_most = np.full((len(cuts), 256), NO_ROW, dtype=np.int32)
    for pixel, pixel_cuts in enumerate(cuts):
        above = np.searchsorted(pixel_cuts, values)
        valid = above < np.count_nonzero(pixel_cuts < 256)
        at_least[pixel, valid] = pixel * CUTS + above[valid]
        below = np.searchsorted(pixel_cuts, values + 1, side="right") - 1
        usable = (below >= 0) & (pixel_cuts[below] < 256)
        at_most[pixel, usable] = pixel * CUTS + below[usable]
    return at_least, at_most


def _bits_of_others(labels: I64, classes: int, tiles: int) -> U64:
    others = np.zeros((classes, tiles, WORDS), dtype=np.uint64)
    for label in range(classes):  # one class at a time: an array of all classes would be large
        members = np.zeros(tiles * TILE, dtype=np.bool_)
        members[: len(labels)] = labels != label
        others[label] = np.packbits(members, bitorder="little").view("<u8").reshape(tiles, WORDS)
    return others
