"""The evaluation room: a trained model and an attack in, checked measures out. It knows nothing of suites or plans."""

from __future__ import annotations

from benchbench.evaluation.memory import MeasurementCache
from benchbench.evaluation.outcome import Outcome, evaluate

__all__ = ["MeasurementCache", "Outcome", "evaluate"]
