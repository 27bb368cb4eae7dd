"""Check exact separation against scikit-learn, SciPy and NumPy, then time them interleaved.

    python benchmarks/separation.py --data ../shared/data

Each contender finds, for the same queries, the nearest MNIST training image of another class in L-inf. Peers are linear in the
number of queries; benchbench also builds its tables, so its ratio grows with the queries. The last line times all of the
60,000 x 60,000 search with benchbench alone and compares time per pair.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numba
import numpy as np
import scipy
import sklearn
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

import benchbench
from benchbench.builtin.datasets.mnist import Mnist
from benchbench.contract import DataSource
from benchbench.separations import nearest_other_class

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]
Search = Callable[[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]], NDArray[np.float64]]


def by_benchbench(
    queries: NDArray[np.uint8], labels: NDArray[np.int64], references: NDArray[np.uint8], others: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The exact search with bit tables."""
    return nearest_other_class(queries, labels, references, others).distance.astype(np.float64)


def by_sklearn(
    queries: NDArray[np.uint8], labels: NDArray[np.int64], references: NDArray[np.uint8], others: NDArray[np.int64]
) -> NDArray[np.float64]:
    """One brute-force index per class."""
    found = np.empty(len(queries))
    for label in np.unique(labels):
        index = NearestNeighbors(n_neighbors=1, algorithm="brute", metric="chebyshev", n_jobs=-1)
        index.fit(references[others != label].astype(np.float32))
        found[labels == label] = index.kneighbors(queries[labels == label].astype(np.float32))[0][:, 0]
    return found


def by_scipy(
    queries: NDArray[np.uint8], labels: NDArray[np.int64], references: NDArray[np.uint8], others: NDArray[np.int64]
) -> NDArray[np.float64]:
    """cdist in chunks of queries, one core."""
    wide, chunks = references.astype(np.float64), []
    for start in range(0, len(queries), 64):
        part = slice(start, start + 64)
        away = cdist(queries[part].astype(np.float64), wide, metric="chebyshev")
        away[labels[part][:, None] == others[None, :]] = np.inf
        chunks.append(away.min(axis=1))
    return np.concatenate(chunks)


def by_numpy(
    queries: NDArray[np.uint8], labels: NDArray[np.int64], references: NDArray[np.uint8], others: NDArray[np.int64]
) -> NDArray[np.float64]:
    """uint8 differences on one core, a thousand references at a time to stay in the cache."""
    found = np.full(len(queries), np.inf)
    for start in range(0, len(references), 1000):
        part, part_labels = references[start : start + 1000], others[start : start + 1000]
        for row, (query, label) in enumerate(zip(queries, labels)):
            away = (np.maximum(part, query) - np.minimum(part, query)).max(axis=1)[part_labels != label]
            found[row] = min(found[row], away.min(initial=255))
    return found


CONTENDERS: Mapping[str, Search] = {
    "benchbench": by_benchbench,
    "sklearn": by_sklearn,
    "scipy": by_scipy,
    "numpy": by_numpy,
}


def main() -> None:
    """Check, time and print."""
    arguments = parse()
    source = DataSource(root=arguments.data, cache=arguments.data)
    train = Mnist().load(source).train
    images, labels = train.inputs.flatten(1).numpy(), train.labels.numpy()
    chosen = np.linspace(0, len(images) - 1, arguments.queries).astype(np.int64)
    seconds = compare((images[chosen], labels[chosen], images, labels), arguments.repeats)
    print(versions())
    print(f"{arguments.queries} queries x {len(images)} references x {images.shape[1]} pixels, all results equal")
    for name, median in seconds.items():
        print(f"  {name:<12} {median / seconds['benchbench']:10.1f} x benchbench   ({median:.2f} s)")
    full = statistics.median(timed(by_benchbench, (images, labels, images, labels)) for _ in range(arguments.repeats))
    print(f"all {len(images)} queries: benchbench {full:.2f} s; the others at their pace per query:")
    for name in list(seconds)[1:]:
        print(f"  {name:<12} {seconds[name] * len(images) / arguments.queries / full:10.0f} x benchbench")


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("BENCHBENCH_DATA", "../shared/data")))
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def compare(arrays: Arrays, repeats: int) -> dict[str, float]:
    """Median seconds per contender, after a warm-up round whose results must agree."""
    expected = by_numpy(*arrays)
    for name, search in CONTENDERS.items():
        if not np.array_equal(search(*arrays), expected):
            raise SystemExit(f"{name} disagrees with NumPy: no times")
    rounds = [{name: timed(search, arrays) for name, search in CONTENDERS.items()} for _ in range(repeats)]
    return {name: statistics.median(times[name] for times in rounds) for name in CONTENDERS}


def timed(search: Search, arrays: Arrays) -> float:
    """Seconds of one search."""
    started = time.perf_counter()
    search(*arrays)
    return time.perf_counter() - started


def versions() -> str:
    """Exact versions, and the machine."""
    names = {"benchbench": benchbench, "numpy": np, "scipy": scipy, "scikit-learn": sklearn, "numba": numba}
    listed = ", ".join(f"{name} {module.__version__}" for name, module in names.items())
    return f"{listed}; Python {platform.python_version()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
