"""Lipschitzness by a search in bfloat16, of a trained network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from benchbench.builtin.architectures.cnn import make_cnn1
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.builtin.datasets.digits import Digits
from benchbench.builtin.defenses.natural import Natural
from benchbench.builtin.metrics.lipschitz import LocalLipschitzness
from benchbench.contract import DatasetSplits, DataSource, Examples, Threat
from benchbench.contract.recipe import Recipe
from benchbench.evaluation import Outcome, evaluate
from benchbench.kernels.arithmetic import Precision
from benchbench.training import TrainingJob, train

THREAT = Threat(epsilon=0.1)
IMAGES = 64


@pytest.fixture
def digits() -> DatasetSplits:
    return Digits().load(DataSource(root=Path(), cache=Path()))


@pytest.fixture
def trained(digits: DatasetSplits) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make_cnn1(input_shape=(1, 16, 16), classes=10)
    job = TrainingJob(
        model=model,
        defense=Natural(),
        examples=Examples(inputs=digits.train.inputs[::2], labels=digits.train.labels[::2]),
        rows=torch.arange((len(digits.train) + 1) // 2),
        threat=THREAT,
        recipe=Recipe(optimizer="adam", learning_rate=1e-3, batch_size=64, epochs=3),
        seed=0,
        device=torch.device("cpu"),
    )
    return train(job).model


def measured(model: nn.Module, digits: DatasetSplits, precision: Precision) -> Outcome:
    few = Examples(inputs=digits.test.inputs[:IMAGES], labels=digits.test.labels[:IMAGES])
    rows = torch.arange(IMAGES)
    return evaluate(
        model,
        train=few,
        test=few,
        train_rows=rows,
        test_rows=rows,
        classes=10,
        threat=THREAT,
        attack=Pgd(steps=1),
        attack_name="pgd",
        metrics={"lipschitz": LocalLipschitzness()},
        seed=0,
        device=torch.device("cpu"),
        precision=precision,
    )


@pytest.mark.exhaustive
def test_a_search_in_bf16_estimates_within_one_percent_of_float32s(trained: nn.Module, digits: DatasetSplits) -> None:
    plain, fast = (measured(trained, digits, p).values for p in ("float32", "bf16"))  # type: ignore[arg-type]
    assert plain["test_lipschitz"] > 20  # a trained network's
    assert plain != fast  # the search was another one
    for column in ("test_lipschitz", "test_lipschitz_best"):
        assert fast[column] == pytest.approx(plain[column], rel=0.01)
