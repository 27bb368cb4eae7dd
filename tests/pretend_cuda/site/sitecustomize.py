"""Found on PYTHONPATH when Python starts: gives the process a pretend CUDA device as soon as it imports torch."""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any


class _Installer:
    """Lets the usual finders find torch, with the guard loaded before it and the patches made after it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = importlib.util.find_spec("torch")
        if spec is None or spec.loader is None:
            return spec
        from pretend_cuda import guard

        guard.load()
        loader: Any = spec.loader
        execute = loader.exec_module

        def execute_and_install(module: ModuleType) -> None:
            execute(module)
            from pretend_cuda import installing

            installing.install()

        loader.exec_module = execute_and_install
        return spec


if os.environ.get("BENCHBENCH_PRETEND_CUDA") == "1":
    sys.path.append(str(Path(__file__).parents[2]))  # where `pretend_cuda` is
    sys.meta_path.insert(0, _Installer())  # type: ignore[arg-type]
