"""Exact search on uint8 pixels: only references that bit tables do not discard are compared."""

from __future__ import annotations

import numba
import numpy as np

from benchbench.separations.tables import (
    I32,
    I64,
    NO_ROW,
    TILE,
    U8,
    U64,
    WORDS,
    BitTables,
    build_tables,
    compiled,
    compiled_parallel,
)

STRIDE = 64  # pixels per inner loop; a constant, so that numba vectorises it
BLOCK = 512  # queries that share a tile while it is in the cache
CANDIDATES = 64  # references compared first, for a low bound
PILOTS = 512  # queries whose neighbours are the first candidates of all queries
SAMPLED = 4096  # references from which the variance of each pixel is estimated
POWERS = 32  # buckets in which tests are ordered
TOGETHER = 4  # tests applied in one pass over a tile; `_discard` is written out for four


def search(queries: U8, query_labels: I64, references: U8, reference_labels: I64, classes: int) -> tuple[U8, I64]:
    """Distance (N,) and index (N,) of each query's nearest (first) reference of another class.

    Takes pixels (N, D) and (M, D), and labels in [0, classes); each query needs a reference of another class.
    """
    sample = references[:: -(-len(references) // SAMPLED)]
    order = np.argsort(-sample.var(axis=0, dtype=np.float32), kind="stable")
    reference_pixels = _arrange(references, order)
    query_pixels = reference_pixels if queries is references else _arrange(queries, order)
    tables = build_tables(reference_pixels, reference_labels, classes)
    spread = _evenly(len(references), CANDIDATES)
    pilots = _evenly(len(queries), PILOTS)
    _, near = _run(query_pixels[pilots], query_labels[pilots], reference_pixels, reference_labels, tables, spread)
    often, times = np.unique(near, return_counts=True)
    popular = often[np.argsort(-times, kind="stable")][:CANDIDATES]
    candidates = np.concatenate([popular, spread[::8]])
    return _run(query_pixels, query_labels, reference_pixels, reference_labels, tables, candidates)


def _evenly(count: int, wanted: int) -> I64:
    return np.linspace(0, count - 1, min(wanted, count)).astype(np.int64)


def _arrange(pixels: U8, order: I64) -> U8:
    """Columns in the given order, padded with zeros to a multiple of `STRIDE`."""
    arranged = np.zeros((len(pixels), -(-len(order) // STRIDE) * STRIDE), dtype=np.uint8)
    _permute(pixels, order, arranged)
    return arranged


@compiled_parallel
def _permute(pixels: U8, order: I64, out: U8) -> None:
    for row in numba.prange(pixels.shape[0]):
        for column in range(order.shape[0]):
            out[row, column] = pixels[row, order[column]]


def _run(
    queries: U8, query_labels: I64, references: U8, reference_labels: I64, tables: BitTables, candidates: I64
) -> tuple[U8, I64]:
    bounds = np.full(len(queries), 256, dtype=np.int64)
    nearest = np.full(len(queries), -1, dtype=np.int64)
    _bound(queries, query_labels, references, reference_labels, candidates, bounds)
    t = tables
    _search_blocks(
        queries, query_labels, references, t.rows, t.counts, t.at_least, t.at_most, t.others, bounds, nearest
    )
    return bounds.astype(np.uint8), nearest


@compiled
def _distance(a: U8, b: U8, bound: int) -> int:
    """The L-inf distance if it is below `bound`, otherwise some value of at least `bound`."""
    worst = np.uint8(0)
    for stride in range(a.shape[0] // STRIDE):
        for offset in range(STRIDE):  # every value stays uint8: numba then compares 64 pixels at once
            left, right = a[stride * STRIDE + offset], b[stride * STRIDE + offset]
            difference = np.uint8(left - right) if left > right else np.uint8(right - left)
            worst = max(worst, difference)
        if worst >= bound:
            break
    return int(worst)


@compiled_parallel
def _bound(queries: U8, query_labels: I64, references: U8, reference_labels: I64, candidates: I64, bounds: I64) -> None:
    """Reduce each bound to one above its best candidate's distance: the first is still found."""
    for query in numba.prange(queries.shape[0]):
        for candidate in candidates:
            if reference_labels[candidate] != query_labels[query]:
                distance = _distance(queries[query], references[candidate], bounds[query])
                bounds[query] = min(bounds[query], distance + 1)


@compiled
def _choose_tests(
    query: U8, bound: int, size: int, counts: I64, at_least: I32, at_most: I32, unsorted: I32, powers: I32, tests: I32
) -> int:
    """Choose rows that rule out distances >= `bound`, strongest first; ~row is the complement."""
    found = 0
    starts = np.zeros(POWERS + 1, dtype=np.int64)
    for pixel in range(at_least.shape[0]):
        value = np.int64(query[pixel])
        if value + bound <= 255 and at_least[pixel, value + bound] != NO_ROW:
            row = at_least[pixel, value + bound]
            unsorted[found], powers[found] = ~row, (POWERS - 1) - (POWERS - 1) * counts[row] // size
            found += 1
        if value - bound >= 0 and at_most[pixel, value - bound] != NO_ROW:
            row = at_most[pixel, value - bound]
            unsorted[found], powers[found] = row, (POWERS - 1) * counts[row] // size
            found += 1
    for test in range(found):
        starts[powers[test] + 1] += 1
    for power in range(POWERS):
        starts[power + 1] += starts[power]
    for test in range(found):
        place = starts[powers[test]]
        starts[powers[test]] += 1
        tests[place] = unsorted[test]
    padded = -(-found // TOGETHER) * TOGETHER
    tests[found:padded] = tests[0]  # repeating a test changes nothing
    return padded


@compiled
def _discard(alive: U64, rows: U64, tests: I32, count: int) -> bool:
    """Apply the tests to one tile, `TOGETHER` at a time; returns whether any reference is left."""
    left = np.uint64(1)
    for test in range(0, count, TOGETHER):
        row_0, flip_0 = _row(tests[test])
        row_1, flip_1 = _row(tests[test + 1])
        row_2, flip_2 = _row(tests[test + 2])
        row_3, flip_3 = _row(tests[test + 3])
        left = np.uint64(0)
        for word in range(WORDS):
            kept = (rows[row_0, word] ^ flip_0) & (rows[row_1, word] ^ flip_1)
            kept &= (rows[row_2, word] ^ flip_2) & (rows[row_3, word] ^ flip_3)
            alive[word] &= kept
            left |= alive[word]
        if left == 0:
            break
    return bool(left != 0)


@compiled
def _row(test: int) -> tuple[int, np.uint64]:
    """Row of a test, and a mask that complements it if the test is negative."""
    return (test, np.uint64(0)) if test >= 0 else (~test, ~np.uint64(0))


@compiled
def _compare_survivors(query: U8, references: U8, alive: U64, first: int, bound: int, nearest: int) -> tuple[int, int]:
    for word in range(WORDS):
        bits = alive[word]
        reference = first + 64 * word
        while bits != 0:
            if bits & np.uint64(1):
                distance = _distance(query, references[reference], bound)
                if distance < bound:
                    bound, nearest = distance, reference
            bits >>= np.uint64(1)
            reference += 1
    return bound, nearest


@compiled_parallel
def _search_blocks(
    queries: U8,
    query_labels: I64,
    references: U8,
    rows: U64,
    counts: I64,
    at_least: I32,
    at_most: I32,
    others: U64,
    bounds: I64,
    nearest: I64,
) -> None:
    """Search tile by tile in the references' order, to keep the first of several equally near."""
    pixels, size = at_least.shape[0], references.shape[0]
    for block in numba.prange(-(-queries.shape[0] // BLOCK)):
        unsorted, powers = np.empty(2 * pixels, dtype=np.int32), np.empty(2 * pixels, dtype=np.int32)
        tests = np.empty((BLOCK, 2 * pixels + TOGETHER), dtype=np.int32)
        chosen_for, test_counts = np.full(BLOCK, -1, dtype=np.int64), np.zeros(BLOCK, dtype=np.int64)
        alive = np.empty(WORDS, dtype=np.uint64)
        first = block * BLOCK
        for tile in range(rows.shape[0]):
            for slot in range(min(BLOCK, queries.shape[0] - first)):
                query = first + slot
                if bounds[query] != chosen_for[slot]:
                    chosen_for[slot] = bounds[query]
                    test_counts[slot] = _choose_tests(
                        queries[query], bounds[query], size, counts, at_least, at_most, unsorted, powers, tests[slot]
                    )
                alive[:] = others[query_labels[query], tile]
                if _discard(alive, rows[tile], tests[slot], test_counts[slot]):
                    bounds[query], nearest[query] = _compare_survivors(
                        queries[query], references, alive, tile * TILE, bounds[query], nearest[query]
                    )
