"""Fits models that need no training loop: the distance classifier and regressions."""

from __future__ import annotations

import dataclasses
import time
from typing import TypeGuard

import torch
from torch import nn

from benchbench.cell.model import Cell, TrainingSpec
from benchbench.contract import DatasetSplits, KeyedGenerator, Threat, TrainingError, derive_seed
from benchbench.contract.training import AnyDefense, FittingDefense, LoopDefense, RegressionDefense
from benchbench.evaluation.lending import Loan
from benchbench.training import TrainedModel, TrainingJob


def trains_in_steps(defense: AnyDefense, splits: DatasetSplits) -> TypeGuard[LoopDefense]:
    """Whether the training loop makes the model of this data; other models are fitted."""
    return splits.task != "regression" and not isinstance(defense, FittingDefense)


def training_threat(spec: TrainingSpec, splits: DatasetSplits) -> Threat:
    """The threat for a defense: the one of its digest, in the data's box."""
    return dataclasses.replace(spec.threat_in_digests, lower=splits.lower, upper=splits.upper)


def fit_model(cell: Cell, job: TrainingJob, splits: DatasetSplits) -> TrainedModel:
    """Fit a cell's model; TrainingError if it cannot be, ContractError if data changed."""
    started = time.monotonic()
    defense, examples = job.defense, job.examples
    label = f"defense {cell.training.defense.name!r}"
    loan = Loan(nn.Identity(), {"training inputs": examples.inputs, "training labels": examples.labels})
    with loan.to(label):
        if splits.task == "regression" and isinstance(defense, RegressionDefense):
            fitted = defense.fit_regression(job.model, examples, threat=job.threat)
        elif splits.task == "classification" and isinstance(defense, FittingDefense):
            generator = KeyedGenerator(derive_seed(job.seed, "fit"), torch.arange(len(examples)))
            fitted = defense.fit(
                job.model, examples, classes=len(splits.classes), threat=job.threat, generator=generator
            )
        else:
            raise TrainingError(f"{label} has no method {'fit_regression' if splits.task == 'regression' else 'fit'}")
    loan.inspect(label)
    loan.settle()
    return TrainedModel(model=fitted.eval(), history=(), seconds=time.monotonic() - started)
