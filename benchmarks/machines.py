"""The card, processor, versions and commit that open a report of ``benchmarks.device``."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path

import torch

from benchbench.records import provenance
from benchmarks.ledger import Ledger


def main(arguments: list[str] | None = None) -> None:
    """Show and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--ledger", type=Path)
    options = parser.parse_args(arguments)
    describe(torch.device(options.device), Ledger(path=options.ledger))


def describe(device: torch.device, ledger: Ledger) -> None:
    """Name what computes, with which software, from which sources."""
    ledger.fact("device", provenance.describe_device(device))
    if device.type == "cuda":
        ledger.fact("GPUs", torch.cuda.device_count())
        ledger.fact("memory", f"{torch.cuda.get_device_properties(device).total_memory / 2**30:.1f} GiB")
        ledger.fact("driver", _driver())
    ledger.fact("CUDA", f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
    ledger.fact("processor", f"{provenance.describe_device(torch.device('cpu'))}, {os.cpu_count()} cores")
    ledger.fact("versions", ", ".join(f"{name} {version}" for name, version in provenance.versions().items()))
    commit = provenance.git_commit()
    ledger.fact("commit", commit or f"unknown: {provenance.COMMIT} is not set, and rows will not say it")


def _driver() -> str:
    """The driver's version, as nvidia-smi says it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "unknown: no nvidia-smi here"
    command = [program, "--query-gpu=driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"]
    try:
        printed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown: {error}"
    return "; ".join(printed.split("\n")).strip("; ")


if __name__ == "__main__":
    main()
