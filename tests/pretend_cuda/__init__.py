"""A pretend CUDA device, for machines without one.

Tensors say that they lie on ``cuda:0``; their numbers lie on the CPU and are computed there. What a GPU refuses is refused:
mixed devices, generators of another device, more memory than there is, waiting while a graph is captured. What a GPU makes the
host wait for is counted by file and line, as are the kernels that it would launch. Graphs are captured and replayed.

    with pretend_cuda.counting() as tally:
        ...
    print(tally.report())

The device has to be there before torch is imported, and stays: processes started with `environment` have it.
`pretend_cuda.gpus.GPUS` are its GPUs, whose memory a test may set. It does not show CUDA's rounding, its speed, what streams do
side by side, NCCL, or kernels that lack a type of numbers.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pretend_cuda.guard import why_not
from pretend_cuda.tally import Tally, counting

__all__ = ["Tally", "counting", "environment", "installed", "why_not"]


def environment(*, gpus: int = 1, gib: float = 80.0, report: Path | None = None) -> dict[str, str]:
    """The environment of a process that has the device, and whose children have it.

    Args:
        gpus: how many.
        gib: memory of each; an allocation beyond it raises `torch.OutOfMemoryError`.
        report: a folder to which each process writes, when it ends, what it counted; None for no reports.
    """
    paths = [str(Path(__file__).parent / "site"), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "BENCHBENCH_PRETEND_CUDA": "1",
        "BENCHBENCH_PRETEND_CUDA_GPUS": str(gpus),
        "BENCHBENCH_PRETEND_CUDA_GIB": str(gib),
        "BENCHBENCH_PRETEND_CUDA_REPORT": "" if report is None else str(report),
    }


def installed() -> bool:
    """Whether this process has the device."""
    module = sys.modules.get("pretend_cuda.installing")
    return module is not None and module.installed()
