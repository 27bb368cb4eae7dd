"""Cost of dividing training steps among ranks: their processor time over one process's.

    python -m benchmarks.ranks [--ranks 2] [--examples 256]

Each is one thread on this machine, joined by gloo over loopback, and learns the same: weights are compared before any time
counts. Processor time, not wall-clock time, so that other work on the machine matters little: it shows what is computed more
than once, and what gloo costs, but not waiting for the network.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import socket
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchbench.contract import Examples, Threat
from benchbench.contract.recipe import Recipe
from benchbench.ranks.launch import find_launch, joined
from benchbench.registry import load_registry
from benchbench.training import TrainingJob, train

SUBJECTS: tuple[tuple[Any, ...], ...] = (  # dataset's input shape, architecture and its options, defense
    ((1, 28, 28), "cnn2", {}, "at"),
    ((3, 32, 32), "wrn", {"depth": 10, "width": 2}, "natural"),
    ((3, 32, 32), "wrn", {"depth": 10, "width": 2}, "at"),
)


def make_job(subject: tuple[Any, ...], count: int) -> TrainingJob:
    """An epoch on random images."""
    shape, architecture, options, defense = subject
    registry = load_registry()
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    model = registry.make(
        "architecture", registry.resolve("architecture", architecture, options), input_shape=shape, classes=10
    )
    examples = Examples(
        inputs=torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator),
        labels=torch.randint(0, 10, (count,), generator=generator),
    )
    return TrainingJob(
        model=model,
        defense=registry.make("defense", registry.resolve("defense", defense, {})),
        examples=examples,
        rows=torch.arange(count),
        threat=Threat(epsilon=0.03),
        recipe=Recipe(learning_rate=1e-3, epochs=1, batch_size=64),
        seed=0,
        device=torch.device("cpu"),
    )


def work(subject: tuple[Any, ...], count: int, repeats: int) -> tuple[float, dict[str, Tensor]]:
    """Processor seconds of an epoch, the median of some, and the weights after it."""
    torch.set_num_threads(1)
    launch, seconds = find_launch(), []
    model: nn.Module | None = None
    for repeat in range(repeats + 1):
        job = make_job(subject, count)
        if launch is None:
            began = time.process_time()
            model = train(job).model
            seconds.append(time.process_time() - began)
        else:
            os.environ["MASTER_PORT"] = str(launch.port + repeat)
            with joined(find_launch() or launch, job.device) as ranks:
                began = time.process_time()
                model = train(job, ranks=ranks).model
                seconds.append(time.process_time() - began)
    return statistics.median(seconds[1:]), dict(model.state_dict() if model else {})


def in_ranks(subject: tuple[Any, ...], count: int, ranks: int, repeats: int) -> list[tuple[float, dict[str, Tensor]]]:
    """What each rank measures."""
    context = multiprocessing.get_context("spawn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with context.Pool(ranks) as pool:
        tasks = [(rank, ranks, port, subject, count, repeats) for rank in range(ranks)]
        return pool.starmap(_be_rank, tasks, chunksize=1)


def _be_rank(rank: int, ranks: int, port: int, *arguments: Any) -> tuple[float, dict[str, Tensor]]:
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")
    os.environ.update(dict(zip(names, map(str, (rank, rank, ranks, port)), strict=True)), MASTER_ADDR="127.0.0.1")
    return work(*arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args(arguments)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {chosen.ranks} ranks, batches of 64")
    for subject in SUBJECTS:
        alone, weights = work(subject, chosen.examples, chosen.repeats)
        together = in_ranks(subject, chosen.examples, chosen.ranks, chosen.repeats)
        distance = max(float((weights[n].double() - together[0][1][n].double()).abs().max()) for n in weights)
        if distance > 1e-2:
            raise SystemExit(f"{subject}: the weights differ by {distance:g}")
        ratio = sum(seconds for seconds, _ in together) / alone
        print(f"{subject[1]} {subject[2]} {subject[3]}: {ratio:.2f} times the work; weights differ by {distance:.1g}")


if __name__ == "__main__":
    main()
