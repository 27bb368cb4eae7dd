"""Regression measures against loops over the perturbation set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchbench.builtin.regression.metrics import SquaredError, TargetLipschitzness
from benchbench.builtin.regression.spline import CubicSpline
from benchbench.builtin.regression.staircase import Exact, Staircase
from benchbench.contract import DatasetSplits, DataSource, Threat
from benchbench.errors import ContractError, OptionError
from benchbench.evaluation import Outcome, evaluate_regression

INFINITY = float("inf")
THREAT = Threat(epsilon=1 / 3, lower=-INFINITY, upper=INFINITY)


def evaluate(
    model: nn.Module, splits: DatasetSplits, *, threat: Threat = THREAT, attack: Any = None, seed: int = 0
) -> Outcome:
    metrics: Any = {"squared-error": SquaredError(), "target-lipschitz": TargetLipschitzness()}
    return evaluate_regression(
        model,
        train=splits.train,
        test=splits.test,
        threat=threat,
        attack=attack or Exact(),
        attack_name="exact",
        metrics=metrics,
        seed=seed,
    )


class Returns(nn.Module):
    """A model that returns a fixed value in a fixed shape."""

    def __init__(self, value: float, *, columns: bool) -> None:
        super().__init__()
        self.value = value
        self.columns = columns

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.full_like(inputs if self.columns else inputs[:, 0], self.value)


@pytest.fixture
def splits() -> DatasetSplits:
    return Staircase(n_train=20, n_test=30).load(DataSource(root=Path(), cache=Path()))


def test_measures_equal_brute_force(splits: DatasetSplits) -> None:
    model = CubicSpline().requires_grad_(False)
    model.theta.copy_(torch.randn(34, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    outcome = evaluate(model, splits)
    measured = outcome.values
    worst, ratios = [], []
    for position, target in zip(splits.test.inputs[:, 0].tolist(), splits.test.labels.tolist()):
        errors = [
            abs(float(model(torch.tensor([[x]], dtype=torch.float64))) - target)
            for x in (position - 1 / 3, position, position + 1 / 3)
        ]
        worst.append(max(errors) ** 2)
        ratios.append(max(errors[0], errors[2]) * 3)
    assert measured["adv_test_mse"] == pytest.approx(sum(worst) / 30)
    assert measured["test_lipschitz"] == pytest.approx(sum(ratios) / 30)
    assert measured["gap"] == measured["test_mse"] - measured["train_mse"]
    assert measured["adv_gap"] == measured["adv_test_mse"] - measured["adv_train_mse"]
    assert outcome.per_example["adv_squared_error"].tolist() == pytest.approx(worst)
    assert float((outcome.witnesses - splits.test.inputs.double()).abs().max()) == pytest.approx(1 / 3)


class Draws:
    """An attack that notes what it draws."""

    def __init__(self) -> None:
        self.drawn: list[tuple[float, ...]] = []

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: Any, **_: Any) -> Tensor:
        self.drawn.append(tuple(generator.uniform().tolist()))
        return images.clone()


def test_attack_draws_by_seed_split_and_example() -> None:
    drawn = []
    for seed, n_test in ((0, 20), (1, 20), (0, 30)):
        attack = Draws()
        splits = Staircase(n_train=20, n_test=n_test).load(DataSource(root=Path(), cache=Path()))
        evaluate(Returns(2.0, columns=False), splits, attack=attack, seed=seed)
        drawn.append({values[:20] for values in attack.drawn})
    first, other_seed, more_examples = drawn
    assert len(first) == 2  # training and test examples of one number draw differently
    assert first == more_examples
    assert not first & other_seed


class Strays:
    """An attack that leaves the ball."""

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor, **_: Any) -> Tensor:
        return images + 0.5


def test_attack_that_leaves_the_ball_is_refused(splits: DatasetSplits) -> None:
    with pytest.raises(ContractError, match="leaves the linf ball"):
        evaluate(Returns(2.0, columns=False), splits, attack=Strays())


def test_constant_model_has_equal_clean_and_adversarial_error(splits: DatasetSplits) -> None:
    measured = evaluate(Returns(2.0, columns=False), splits).values
    assert measured["test_mse"] == measured["adv_test_mse"]
    assert measured["test_mse"] == pytest.approx(float((splits.test.labels.double() - 2).square().mean()))


def test_model_keeps_its_mode_and_its_gradients(splits: DatasetSplits) -> None:
    model = CubicSpline().train()
    evaluate(model, splits)
    assert model.training
    assert model.theta.requires_grad


def test_predictions_of_the_wrong_shape_are_refused(splits: DatasetSplits) -> None:
    with pytest.raises(ContractError, match="one prediction per input"):
        evaluate(Returns(2.0, columns=True), splits)


def test_predictions_that_are_not_finite_are_refused(splits: DatasetSplits) -> None:
    with pytest.raises(ContractError, match="finite"):
        evaluate(Returns(float("nan"), columns=False), splits)


def test_radius_zero_is_refused(splits: DatasetSplits) -> None:
    with pytest.raises(OptionError, match="epsilon"):
        evaluate(Returns(0.0, columns=False), splits, threat=Threat(epsilon=0.0))
