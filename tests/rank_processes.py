"""Processes that work as ranks, forked from a server that has torch loaded, joined over loopback as torchrun joins them."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from forked_processes import CONTEXT

from benchbench.ranks.group import Ranks
from benchbench.ranks.launch import find_launch, joined, local_device

ANSWER_SECONDS = 120.0


def in_ranks(count: int, work: Callable[..., Any], *arguments: Any, device: str = "cpu") -> list[Any]:
    """What `work(ranks, *arguments)` returns on each of some ranks; an exception counts as what it returned."""
    return _answers(count, _joined, (work, arguments, device))


def as_ranks(count: int, work: Callable[..., Any], *arguments: Any, **named: Any) -> list[Any]:
    """What `work(*arguments)` returns in each of some processes that have torchrun's environment and have not joined yet."""
    return _answers(count, partial(work, **named), arguments)


def _answers(count: int, work: Callable[..., Any], arguments: tuple[Any, ...]) -> list[Any]:
    port = free_port()
    answers: Any = CONTEXT.Queue()
    task = pickle.dumps((work, arguments))  # plainly: multiprocessing would have the ranks share the memory of tensors
    processes = [CONTEXT.Process(target=_be_rank, args=(rank, count, port, answers, task)) for rank in range(count)]
    for process in processes:
        process.start()
    try:
        found = dict(pickle.loads(answers.get(timeout=ANSWER_SECONDS)) for _ in processes)
    finally:
        for process in processes:
            process.join(timeout=10)
            process.kill()
    return [found[rank] for rank in range(count)]


def environment_of(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun would tell a process."""
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _be_rank(rank: int, count: int, port: int, answers: Any, task: bytes) -> None:
    work, arguments = pickle.loads(task)
    torch.set_num_threads(1)
    os.environ.update(environment_of(rank, count, port))
    try:
        answers.put(pickle.dumps((rank, work(*arguments))))
    except Exception as error:
        answers.put(pickle.dumps((rank, error)))


def _joined(work: Callable[..., Any], arguments: tuple[Any, ...], device: str) -> Any:
    launch = find_launch()
    assert launch is not None
    with joined(launch, local_device(torch.device(device), launch)) as ranks:
        return work(ranks, *arguments)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


__all__ = ["Ranks", "as_ranks", "environment_of", "free_port", "in_ranks"]
