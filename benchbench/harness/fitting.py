"""Models that are fitted rather than trained step by step: the distance classifier, regressions."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import torch
from torch import nn

from benchbench.cell.model import Cell, TrainingSpec
from benchbench.contract import (
    DatasetSplits,
    Examples,
    FittingDefense,
    KeyedGenerator,
    RegressionDefense,
    Threat,
    TrainingError,
    derive_seed,
)
from benchbench.evaluation.lending import Loan
from benchbench.training import TrainedModel


def is_fitted(defense: object, splits: DatasetSplits) -> bool:
    """Whether a defense needs no training loop on this data."""
    return splits.task == "regression" or isinstance(defense, FittingDefense)


def training_threat(spec: TrainingSpec, splits: DatasetSplits) -> Threat:
    """The threat that a defense is given; a method that does not use it gets the one that digests hold, in the data's box."""
    return dataclasses.replace(spec.threat_in_digests, lower=splits.lower, upper=splits.upper)


def fit_model(defense: object, model: nn.Module, examples: Examples, cell: Cell, splits: DatasetSplits) -> TrainedModel:
    """Fit the model of a cell.

    Raises:
        TrainingError: the data is a regression, and the defense does not know how to fit one.
        ContractError: the defense changed the examples.
    """
    started = time.monotonic()
    threat = training_threat(cell.training, splits)
    what = f"defense {cell.training.defense.name!r}"
    loan = Loan(nn.Identity(), {"training inputs": examples.inputs, "training labels": examples.labels})
    with loan.to(what):
        if splits.task == "regression":
            if not isinstance(defense, RegressionDefense):
                raise TrainingError(f"{what} has no method fit_regression")
            fitted = defense.fit_regression(model, examples, threat=threat)
        else:
            fitting: Any = defense
            generator = KeyedGenerator(derive_seed(cell.training.seed, "fit"), torch.arange(len(examples)))
            fitted = fitting.fit(model, examples, classes=len(splits.classes), threat=threat, generator=generator)
    loan.inspect(what)
    loan.settle()
    return TrainedModel(model=fitted.eval(), history=(), seconds=time.monotonic() - started)
