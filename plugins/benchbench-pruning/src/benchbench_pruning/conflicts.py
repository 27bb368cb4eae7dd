"""Pairs of examples of different classes that are too close, and the fewest removals."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from torch import Tensor

BLOCK_ELEMENTS = 1 << 24  # of a block of distances: 64 MiB


def conflicts(features: Tensor, labels: Tensor, *, distance: float, order: float) -> NDArray[np.int64]:
    """Pairs of examples with different labels that lie closer than a distance.

    Args:
        features: float32 (N, d), or float64.
        labels: int64 (N,).
        distance: at least 0; pairs at exactly this distance are no conflict.
        order: the p of the norm: inf, 2 or 1.

    Returns:
        int64 (M, 2), each pair once, the smaller index first, sorted.
    """
    rows = max(1, BLOCK_ELEMENTS // max(1, len(features)))
    found = []
    for start in range(0, len(features), rows):
        block = slice(start, start + rows)
        # without matrix multiplication: its rounding would blur an exact threshold
        near = torch.cdist(features[block], features[start:], p=order, compute_mode="donot_use_mm_for_euclid_dist")
        pairs = ((near < distance) & (labels[block, None] != labels[None, start:])).nonzero() + start
        found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    return torch.cat(found).numpy() if found else np.zeros((0, 2), dtype=np.int64)


def fewest_removals(pairs: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Examples to remove so that no pair remains: the fewest for two classes, few for more.

    The pairs are edges of a graph, and the removals a vertex cover. Between two classes the graph is bipartite, and a
    smallest cover follows from a largest matching (Koenig's theorem). For three or more classes the problem is NP-hard, so
    it is solved greedily: remove the example with the most remaining conflicts, the earliest on a tie, until none is left;
    then restore each removed example that is in no conflict with a kept one.

    Args:
        pairs: int64 (M, 2).
        labels: int64 (N,).

    Returns:
        int64 indices, sorted.
    """
    if len(pairs) == 0:
        return np.zeros(0, dtype=np.int64)
    involved = np.unique(labels[pairs])
    chosen = _smallest_cover(pairs, labels, int(involved[0])) if len(involved) == 2 else _greedy_cover(pairs)
    return np.sort(np.asarray(chosen, dtype=np.int64))


def _smallest_cover(pairs: NDArray[np.int64], labels: NDArray[np.int64], left_label: int) -> NDArray[np.int64]:
    """Koenig: (left - Z) and (right in Z), Z on alternating paths from unmatched left vertices."""
    swapped = labels[pairs[:, 0]] != left_label
    left = np.where(swapped, pairs[:, 1], pairs[:, 0])
    right = np.where(swapped, pairs[:, 0], pairs[:, 1])
    left_vertices, left_places = np.unique(left, return_inverse=True)
    right_vertices, right_places = np.unique(right, return_inverse=True)
    shape = (len(left_vertices), len(right_vertices))
    graph = csr_array((np.ones(len(pairs), dtype=np.int8), (left_places, right_places)), shape=shape)
    partner_of_left = maximum_bipartite_matching(graph, perm_type="column")
    partner_of_right = np.full(shape[1], -1)
    matched = partner_of_left >= 0
    partner_of_right[partner_of_left[matched]] = np.flatnonzero(matched)
    reached_left, reached_right = ~matched, np.zeros(shape[1], dtype=bool)
    frontier = np.flatnonzero(reached_left)
    while len(frontier):
        neighbours = np.unique(np.concatenate([graph.indices[graph.indptr[v] : graph.indptr[v + 1]] for v in frontier]))
        neighbours = neighbours[~reached_right[neighbours]]
        reached_right[neighbours] = True
        partners = partner_of_right[neighbours]
        frontier = partners[(partners >= 0) & ~reached_left[partners]]
        reached_left[frontier] = True
    return np.concatenate([left_vertices[~reached_left], right_vertices[reached_right]])


def _greedy_cover(pairs: NDArray[np.int64]) -> list[int]:
    vertices, places = np.unique(pairs, return_inverse=True)
    edges = places.reshape(-1, 2)
    neighbours: list[list[int]] = [[] for _ in vertices]
    for one, other in edges.tolist():
        neighbours[one].append(other)
        neighbours[other].append(one)
    degree = np.array([len(adjacent) for adjacent in neighbours])
    removed: list[int] = []
    while degree.max() > 0:
        worst = int(degree.argmax())
        removed.append(worst)
        degree[worst] = 0
        for adjacent in neighbours[worst]:
            degree[adjacent] = max(0, degree[adjacent] - 1)
    gone = set(removed)
    for vertex in reversed(removed):
        if gone.issuperset(neighbours[vertex]):
            gone.remove(vertex)
    return [int(vertices[vertex]) for vertex in gone]
