"""The evaluation room: a trained model and an attack in, checked measures out. It knows nothing of suites or plans."""

from __future__ import annotations

from benchbench.evaluation.diagnostics import FLAGS, diagnose_again
from benchbench.evaluation.measuring import Columns
from benchbench.evaluation.memory import ATTACKED, MeasurementCache
from benchbench.evaluation.outcome import Outcome, Subject, evaluate
from benchbench.evaluation.regression import evaluate_regression
from benchbench.evaluation.specimens import lives_off_gradients

__all__ = [
    "ATTACKED",
    "FLAGS",
    "Columns",
    "MeasurementCache",
    "Outcome",
    "Subject",
    "diagnose_again",
    "evaluate",
    "evaluate_regression",
    "lives_off_gradients",
]
