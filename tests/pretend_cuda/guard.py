"""Builds guard.cpp, once for each version of torch and of the source, and loads it; imports no torch."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".cpp")


@functools.cache
def why_not() -> str:
    """Why this machine cannot pretend; empty if it can."""
    if shutil.which("g++") is None:
        return "the pretend CUDA device needs g++"
    libraries = _torch() / "lib"
    if not (libraries / "libtorch_cpu.so").exists() or (libraries / "libtorch_cuda.so").exists():
        return "the pretend CUDA device needs torch's CPU build for Linux"
    return ""


def load() -> None:
    """Load the guard into this process; torch must not be imported yet, for it looks for the hooks once."""
    ctypes.CDLL(str(_built()), mode=ctypes.RTLD_GLOBAL)


def _torch() -> Path:
    spec = importlib.util.find_spec("torch")
    return Path(str(spec.origin)).parent if spec else Path()


def _built() -> Path:
    """The compiled guard, in the temporary folder: another process may be building it as well."""
    text = SOURCE.read_bytes() + f"{_torch()} {importlib.metadata.version('torch')}".encode()
    target = Path(
        tempfile.gettempdir(), f"benchbench-pretend-cuda-{os.getuid()}-{hashlib.sha256(text).hexdigest()[:16]}.so"
    )
    if not target.exists():
        unfinished, lib = target.with_suffix(f".{os.getpid()}"), _torch() / "lib"
        options = [
            "-std=c++20",
            "-O1",
            "-shared",
            "-fPIC",
            f"-I{_torch() / 'include'}",
            f"-L{lib}",
            f"-Wl,-rpath,{lib}",
        ]
        subprocess.run(
            ["g++", *options, str(SOURCE), "-o", str(unfinished), "-lc10", "-ltorch_cpu"],
            check=True,
        )
        unfinished.replace(target)
    return target
