"""Regression metrics: squared errors, and distances from the target around each input."""

from __future__ import annotations

from benchbench.builtin.deferred import Tensor, torch
from benchbench.contract import Measurement, RegressionEvidence, SplitName


class SquaredError:
    """Mean squared errors of both splits, with and without attack, and gaps (test minus train)."""

    def measure(self, evidence: RegressionEvidence) -> Measurement:
        """Values ``train_mse``, ``test_mse``, ``adv_train_mse``, ``adv_test_mse`` and two gaps.

        The gaps are ``gap`` and ``adv_gap``. Per example: ``squared_error`` and ``adv_squared_error``.
        """
        clean = {split: _squared_errors(evidence, split, evidence.examples(split).inputs) for split in _SPLITS}
        attacked = {split: _squared_errors(evidence, split, evidence.candidates(split)) for split in _SPLITS}
        values = {
            "train_mse": float(clean["train"].mean()),
            "test_mse": float(clean["test"].mean()),
            "adv_train_mse": float(attacked["train"].mean()),
            "adv_test_mse": float(attacked["test"].mean()),
        }
        gaps = {
            "gap": values["test_mse"] - values["train_mse"],
            "adv_gap": values["adv_test_mse"] - values["adv_train_mse"],
        }
        per_example = {"squared_error": clean["test"].cpu(), "adv_squared_error": attacked["test"].cpu()}
        return Measurement(values=values | gaps, per_example=per_example)


class TargetLipschitzness:
    """Mean over test examples of max |f(x +- epsilon) - y| / epsilon.

    It takes the distance to the target, not to f(x): Tables 1 and 8 of the paper's arXiv version show that.
    """

    def measure(self, evidence: RegressionEvidence) -> Measurement:
        """Value ``test_lipschitz``; per example ``lipschitz``."""
        inputs, radius = evidence.examples("test").inputs, evidence.threat.epsilon
        sides = [_squared_errors(evidence, "test", inputs + shift * radius) for shift in (-1.0, 1.0)]
        ratios = torch.maximum(*sides).sqrt() / radius
        return Measurement(values={"test_lipschitz": float(ratios.mean())}, per_example={"lipschitz": ratios.cpu()})


_SPLITS: tuple[SplitName, ...] = ("train", "test")


def _squared_errors(evidence: RegressionEvidence, split: SplitName, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        predictions: Tensor = evidence.model(inputs)
    return (predictions - evidence.examples(split).labels).square()
