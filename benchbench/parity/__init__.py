"""One attack by several libraries on the same model and images."""

from __future__ import annotations

from benchbench.parity.comparison import ParityReport, compare_implementations
from benchbench.parity.peers import AttackSetting, installed_peers

__all__ = ["AttackSetting", "ParityReport", "compare_implementations", "installed_peers"]
