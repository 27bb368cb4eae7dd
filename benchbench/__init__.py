"""benchbench: a plugin-based benchmark suite for adversarial robustness.

The functions of the API load on first use, so that importing this package imports neither torch nor plugins.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchbench.api import plan as plan
    from benchbench.api import run as run
    from benchbench.api import separation as separation
    from benchbench.checking.replaying import verify as verify
    from benchbench.contract.threat import Threat as Threat
    from benchbench.leaderboard import read_leaderboard as read_leaderboard
    from benchbench.own_model.evaluating import evaluate as evaluate
    from benchbench.own_model.report import ModelReport as ModelReport
    from benchbench.report.gathering import write_report as write_report
    from benchbench.running.execution import RunResult as RunResult

__version__ = "0.1.0"

_API = {
    "ModelReport": "benchbench.own_model.report",
    "RunResult": "benchbench.running.execution",
    "Threat": "benchbench.contract.threat",
    "evaluate": "benchbench.own_model.evaluating",
    "plan": "benchbench.api",
    "read_leaderboard": "benchbench.leaderboard",
    "run": "benchbench.api",
    "separation": "benchbench.api",
    "verify": "benchbench.checking.replaying",
    "write_report": "benchbench.report.gathering",
}


class _Package(ModuleType):
    """This package. The rooms ``benchbench.plan`` and ``benchbench.separation`` bear the names of functions of the API.

    The import system would bind a room to the package when it is first imported, and so cover the function; here the
    function keeps the name, and what is in the room is imported with ``from benchbench.plan import ...``.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in _API:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_API[name]), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _API and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_API})


sys.modules[__name__].__class__ = _Package
