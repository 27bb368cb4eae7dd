"""Measures of a regression model: squared errors, clean and over the perturbation set {x - r, x, x + r}."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.contract import DatasetSplits, Examples, Threat, frozen, in_mode
from benchbench.errors import ContractError, OptionError


@dataclass(frozen=True, kw_only=True)
class RegressionMeasures:
    """What is measured, in squared or plain units of the target.

    Attributes:
        train_mse: mean squared error on the training set.
        test_mse: mean squared error on the test set.
        adv_train_mse: mean over the training set of the largest squared error over x - r, x, x + r.
        adv_test_mse: the same on the test set.
        test_lipschitz: mean over the test set of max |f(x +- r) - y| / r. The distance is to the target, not to f(x):
            that is what Tables 1 and 8 of the paper's arXiv version show.
        gap: test_mse - train_mse.
        adv_gap: adv_test_mse - adv_train_mse.
    """

    train_mse: float
    test_mse: float
    adv_train_mse: float
    adv_test_mse: float
    test_lipschitz: float
    gap: float
    adv_gap: float


def evaluate_regression(model: nn.Module, splits: DatasetSplits, *, threat: Threat) -> RegressionMeasures:
    """Measure a model on both splits.

    Args:
        model: maps float64 (N, 1) inputs to (N,) predictions; its mode and parameters are left as they were.
        splits: regression data.
        threat: its epsilon, above 0, is the radius r.

    Raises:
        OptionError: for a radius of 0, where the Lipschitz ratio is not defined.
        ContractError: for predictions of the wrong shape or that are not finite.
    """
    if not threat.epsilon > 0:
        raise OptionError(f"regression measures need a radius epsilon above 0, got {threat.epsilon!r}")
    train = _errors(model, splits.train, threat)
    test = _errors(model, splits.test, threat)
    train_mse, adv_train_mse = _mean_square(train[1]), _mean_square(train.amax(dim=0))
    test_mse, adv_test_mse = _mean_square(test[1]), _mean_square(test.amax(dim=0))
    return RegressionMeasures(
        train_mse=train_mse,
        test_mse=test_mse,
        adv_train_mse=adv_train_mse,
        adv_test_mse=adv_test_mse,
        test_lipschitz=float(torch.maximum(test[0], test[2]).mean()) / threat.epsilon,
        gap=test_mse - train_mse,
        adv_gap=adv_test_mse - adv_train_mse,
    )


def _mean_square(errors: Tensor) -> float:
    return float(errors.square().mean())


def _errors(model: nn.Module, examples: Examples, threat: Threat) -> Tensor:
    """|f(x') - y| at x - r, x, x + r: float64 (3, N)."""
    inputs = examples.inputs.double()
    with torch.no_grad(), in_mode(model, training=False), frozen(model):
        predictions = torch.stack([model(inputs + shift * threat.epsilon) for shift in (-1, 0, 1)])
    if predictions.shape != (3, len(examples)):
        raise ContractError(f"expected one prediction per input, got shape {tuple(predictions.shape[1:])}")
    if not predictions.isfinite().all():
        raise ContractError("the model's predictions are not finite")
    return (predictions.double() - examples.labels.double()).abs()
