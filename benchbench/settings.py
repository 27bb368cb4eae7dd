"""The folders of data, runs and leaderboards, and the device that computes."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.atomic import storage_errors
from benchbench.contract import DataSource
from benchbench.errors import UsageError
from benchbench.kernels.arithmetic import Precision

if TYPE_CHECKING:
    import torch

DEVICES = ("cpu", "cuda")
AnyPath = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Folders:
    """The folders of a run."""

    data: Path  # data root in torchvision's layout (``--data``, ``BENCHBENCH_DATA``, else ``data`` below the home)
    home: Path  # cache of what can be recomputed (``BENCHBENCH_HOME``, else ``~/.cache/benchbench``)
    runs: Path  # checkpoints and cell records (``--runs``, else ``runs`` below the home)
    leaderboards: Path  # Parquet leaderboards (``--leaderboards``, else ``./leaderboards``)

    def leaderboard(self, suite: str) -> Path:
        """The Parquet file of a suite."""
        return self.leaderboards / f"{suite}.parquet"

    def board(self, named: str) -> Path:
        """A Parquet file given by its path, or that of a suite."""
        return Path(named) if named.endswith(".parquet") else self.leaderboard(named)

    def source(self, *, download: bool = False) -> DataSource:
        """The folders that datasets may read."""
        return DataSource(root=self.data, cache=self.home / "datasets", download=download)


def find_folders(
    *,
    data: AnyPath | None = None,
    runs: AnyPath | None = None,
    leaderboards: AnyPath | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Folders:
    """Resolve the folders from options, environment and defaults.

    Raises:
        UsageError: the stated data root does not exist.
    """
    home = Path(environment.get("BENCHBENCH_HOME") or Path.home() / ".cache" / "benchbench").expanduser()
    named = data or environment.get("BENCHBENCH_DATA")
    stated = Path(named) if named else None
    if stated is not None and not stated.expanduser().is_dir():
        origin = "--data" if data else "BENCHBENCH_DATA"
        raise UsageError(
            f"the data root {stated} ({origin}) is not a folder",
            hint="give the folder that holds MNIST/, or leave it out",
        )
    return Folders(
        data=(stated or home / "data").expanduser().resolve(),
        home=home,
        runs=Path(runs or home / "runs").expanduser(),
        leaderboards=Path(leaderboards or "leaderboards").expanduser(),
    )


def check_writable(folder: Path, *, size: int = 1) -> None:
    """Create a missing folder; raise `StorageError` if `size` bytes cannot be written there."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(size))
            file.flush()


def find_device(name: str | torch.device | None = None) -> torch.device:
    """The device that computes: the named one, else CUDA if available, else the CPU.

    Args:
        name: ``"cpu"``, ``"cuda"`` or one GPU, for instance ``"cuda:1"``. Other devices are refused: they are untested, and
            Apple's MPS lacks float64, which sums of losses, checks of distances and regressions need.

    Raises:
        UsageError: the device is refused, or this machine or this build of torch does not have it.
    """
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = str(name)
    kind = name.partition(":")[0]
    if kind not in DEVICES:
        meant = "did you mean 'cuda'? " if kind in ("gpu", "nvidia") else ""
        hint = f"{meant}use --device cpu, cuda or, of several GPUs, cuda:1"
        raise UsageError(f"device {name!r} is not offered", hint=hint)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}", hint="for instance cpu, cuda or cuda:1") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "no CUDA device is available to torch here", hint="use --device cpu, or install a CUDA build of torch"
        )
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if (device.index or 0) >= count:
        known = "cpu" if kind == "cpu" else "cuda" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise UsageError(f"there is no device {name!r} here", hint=f"use --device {known}")
    return device


def device_kind(name: str | None = None) -> str:
    """``"cpu"`` or ``"cuda"``, the kind of `find_device`; without torch where that is clear."""
    if name == "cpu":
        return name
    if name is None and sys.platform != "win32" and "torch" not in sys.modules and not Path("/dev/kfd").exists():
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            return "cpu"
    return find_device(name).type


def why_rounding_is_in_vain(precision: Precision, device: torch.device) -> str:
    """The reason why a precision is no faster than float32 on a device; empty if it is.

    bfloat16 is faster on CUDA devices, and on a CPU with AMX or AVX-512's bfloat16; TF32 on CUDA devices from Ampere on.
    """
    import torch

    if precision == "tf32":
        rounds = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return "" if rounds else "only CUDA devices from Ampere on multiply TF32; the arithmetic is float32's"
    if precision == "float32" or device.type == "cuda":
        return ""
    if torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported():
        return ""
    return "this processor has no instructions that multiply bfloat16"
