"""One attack by several libraries on the same model and images."""

from __future__ import annotations

from benchbench.parity.comparison import Implementation, ParityReport, compare_implementations
from benchbench.parity.peers import ATTACKS, AttackSetting, installed_peers

__all__ = ["ATTACKS", "AttackSetting", "Implementation", "ParityReport", "compare_implementations", "installed_peers"]
