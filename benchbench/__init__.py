"""benchbench: a plugin-based benchmark suite for adversarial robustness.

The functions of the API load on first use, so that importing this package imports neither torch nor plugins.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from benchbench.version import __version__ as __version__

if TYPE_CHECKING:
    from benchbench import events as events
    from benchbench.api import compare as compare
    from benchbench.api import findings as findings
    from benchbench.api import load_dataset as load_dataset
    from benchbench.api import plan as plan
    from benchbench.api import run as run
    from benchbench.api import separation as separation
    from benchbench.checking.loading import load_model as load_model
    from benchbench.checking.verifying import verify as verify
    from benchbench.contract.threat import Threat as Threat
    from benchbench.leaderboard import read_leaderboard as read_leaderboard
    from benchbench.leaderboard import write_published as write_published
    from benchbench.own_model.auditing import audit as audit
    from benchbench.own_model.evaluating import evaluate as evaluate
    from benchbench.own_model.files import load_weights as load_weights
    from benchbench.own_model.report import AuditReport as AuditReport
    from benchbench.own_model.report import ModelReport as ModelReport
    from benchbench.report.gathering import write_report as write_report
    from benchbench.reproduction.lookup import table as table
    from benchbench.running.execution import RunResult as RunResult

_API = {
    "AuditReport": "benchbench.own_model.report",
    "ModelReport": "benchbench.own_model.report",
    "RunResult": "benchbench.running.execution",
    "Threat": "benchbench.contract.threat",
    "audit": "benchbench.own_model.auditing",
    "compare": "benchbench.api",
    "evaluate": "benchbench.own_model.evaluating",
    "findings": "benchbench.api",
    "load_dataset": "benchbench.api",
    "load_model": "benchbench.checking.loading",
    "load_weights": "benchbench.own_model.files",
    "plan": "benchbench.api",
    "read_leaderboard": "benchbench.leaderboard",
    "run": "benchbench.api",
    "separation": "benchbench.api",
    "table": "benchbench.reproduction.lookup",
    "verify": "benchbench.checking.verifying",
    "write_published": "benchbench.leaderboard",
    "write_report": "benchbench.report.gathering",
}


def __getattr__(name: str) -> object:
    if name == "events":
        return importlib.import_module("benchbench.events")
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_API[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_API, "events"})
