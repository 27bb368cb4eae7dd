"""Models that a defense fits at once, without a training loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sample_rows import make_cell
from torch import nn

from benchbench.contract import DatasetSplits, Examples, Threat, TrainingError
from benchbench.contract.recipe import NO_TRAINING
from benchbench.harness.fitting import fit_model
from benchbench.training import TrainingJob


def test_defense_that_cannot_fit_a_regression_is_named() -> None:
    part = Examples(inputs=torch.zeros(3, 1), labels=torch.zeros(3))
    splits = DatasetSplits(train=part, test=part, classes=(), task="regression")
    unable: Any = object()
    job = TrainingJob(
        model=nn.Linear(1, 1),
        defense=unable,
        examples=part,
        rows=torch.arange(3),
        threat=Threat(epsilon=0.1),
        recipe=NO_TRAINING,
        seed=0,
        device=torch.device("cpu"),
    )
    with pytest.raises(TrainingError, match="'trades' has no method fit_regression"):
        fit_model(make_cell(), job, splits)
