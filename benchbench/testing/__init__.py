"""The conformance kit: a plugin's tests in three lines.

>>> import torch
>>> from benchbench.contract import BatchLoss
>>> from benchbench.testing import check_defense
>>> class Natural:
...     def loss(self, model, images, labels, *, threat, generator):
...         logits = model(images)
...         return BatchLoss(loss=torch.nn.functional.cross_entropy(logits, labels, reduction="sum"), logits=logits)
>>> check_defense(Natural())

Each check raises `ConformanceError`, an `AssertionError` that says what was expected and what came. A plugin's own tests may
use the toys behind them, whose answers are exact.
"""

from benchbench.testing.architectures import check_architecture
from benchbench.testing.attacks import check_attack
from benchbench.testing.certificates import check_certificates
from benchbench.testing.conformance import ConformanceError
from benchbench.testing.datasets import check_dataset
from benchbench.testing.defenses import check_defense
from benchbench.testing.executors import ToyHost, check_executor, toy_work
from benchbench.testing.metrics import ToyEvidence, check_metric
from benchbench.testing.preparation import toy_training_host
from benchbench.testing.toys import (
    TOY_THREAT,
    FragileToy,
    LinearToy,
    ToyAttackProblem,
    smooth_toy,
    toy_attack_problem,
    toy_training_examples,
)

__all__ = [
    "TOY_THREAT",
    "ConformanceError",
    "FragileToy",
    "LinearToy",
    "ToyAttackProblem",
    "ToyEvidence",
    "ToyHost",
    "check_architecture",
    "check_attack",
    "check_certificates",
    "check_dataset",
    "check_defense",
    "check_executor",
    "check_metric",
    "smooth_toy",
    "toy_attack_problem",
    "toy_training_examples",
    "toy_training_host",
    "toy_work",
]
