"""``benchbench separation``: as text and as JSON."""

from __future__ import annotations

import pytest
from cli.conftest import Command


def test_figures_are_reported_with_the_closest_pairs(command: Command) -> None:
    answer = command("separation", "digits", "--pairs", "2")
    assert answer.status == 0
    assert "train-train     1,437   0.4353" in answer.out
    assert "closest pairs:" in answer.out
    assert "472" in answer.out


def test_json_holds_both_separations(command: Command) -> None:
    document = command("separation", "digits", "--json", "--epsilon", "3/10").document
    assert document["dataset"] == "digits"
    assert document["train_train"]["minimum"] == pytest.approx(0.43529, abs=1e-5)
    assert document["test_train"]["exceeds_two_epsilon"] is False


def test_options_reach_the_measure(command: Command) -> None:
    document = command("separation", "digits", "--json", "--random-labels", "--exclude", "3", "--exclude", "7").document
    assert (document["random_labels"], document["excluded"]) == (True, [3, 7])
    assert document["train_train"]["examples"] == 1435
    assert document["train_train"]["minimum"] < 0.4


def test_options_of_the_dataset(command: Command) -> None:
    assert command("separation", '{name = "digits", scale = 1}', "--json").document["dataset"] == "digits"
