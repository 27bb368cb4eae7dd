"""The evaluation room measures a trained model under an attack, without suites or plans."""

from __future__ import annotations

from benchbench.evaluation.diagnostics import FLAGS, diagnose
from benchbench.evaluation.measuring import Columns
from benchbench.evaluation.memory import ATTACKED
from benchbench.evaluation.outcome import Outcome, Subject, evaluate
from benchbench.evaluation.regression import evaluate_regression
from benchbench.evaluation.specimens import Attacked, lives_off_gradients

__all__ = [
    "ATTACKED",
    "Attacked",
    "FLAGS",
    "Columns",
    "Outcome",
    "Subject",
    "diagnose",
    "evaluate",
    "evaluate_regression",
    "lives_off_gradients",
]
