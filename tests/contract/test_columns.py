"""Values in columns of the leaderboard must agree with the examples, and be of the data's task."""

from __future__ import annotations

import pytest

from benchbench.contract import Measurement
from benchbench.contract.columns import column_problems
from benchbench.testing import ToyEvidence

ACCURACY = 1.0  # the toy predicts every example correctly


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("test_accuracy", ACCURACY, ""),
        ("gap", 0.0, ""),
        ("test_accuracy", 0.5, "test_accuracy is 0.5, but the examples give 1"),
        (
            "test_lipschitz",
            1.0,
            "test_lipschitz comes without the per-example column 'lipschitz' that it is the mean of",
        ),
        ("test_mse", 0.1, "test_mse is of another task than the data"),
    ],
)
def test_value_is_held_against_the_examples(name: str, value: float, problem: str) -> None:
    found = column_problems(Measurement(values={name: value}), ToyEvidence(), fills=(name,))
    assert found == ([problem] if problem else [])
