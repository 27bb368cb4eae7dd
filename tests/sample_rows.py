"""Rows and cells that several tests need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from benchbench.cell.model import Cell, Component, EvaluationSpec, TrainingSpec
from benchbench.contract.recipe import Recipe
from benchbench.contract.threat import Threat
from benchbench.records import Row
from benchbench.records.schema import trained_under

IDENTITY: dict[str, Any] = {
    "suite": "closer-look",
    "profile": "quick",
    "protocol": "closer-look",
    "experiment": "mnist",
    "cell_id": "0123456789abcdef",
    "model_id": "fedcba9876543210",
    "source": "measured",
    "dataset": "mnist",
    "architecture": "cnn2",
    "defense": "natural",
    "norm": "linf",
    "epsilon": 0.1,
    "attack": "pgd-10",
    "seed": 0,
    "n_train": 100,
    "n_train_evaluated": 50,
    "n_test": 200,
    "epochs": 2,
}


def make_row(**columns: Any) -> Row:
    """A measured MNIST row, trained under the threat of the attack where the method uses one, with other columns as given."""
    given = {**IDENTITY, **columns}
    return Row(**{**trained_under(given["defense"], given["norm"], given["epsilon"]), **given})


def signed(columns: Mapping[str, Any]) -> bytes:
    """The file of a cell record with these columns, whatever version has them."""
    content = json.dumps(columns, sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return json.dumps({"format": 1, "sha256": digest, "row": json.loads(content)}).encode()


def make_cell(**training: Any) -> Cell:
    """A small MNIST cell, with other training fields as given."""

    def component(kind: Any, name: str, **options: Any) -> Component:
        return Component(kind=kind, name=name, options=options, distribution="benchbench", version="0.1.0")

    spec: dict[str, Any] = {
        "dataset": component("dataset", "mnist"),
        "dataset_digest": "ab" * 32,
        "n_train": 100,
        "architecture": component("architecture", "wrn", depth=10, width=1, dropout=0.2),
        "defense": component("defense", "trades", beta=6.0),
        "threat": Threat(epsilon=0.1),
        "recipe": Recipe(learning_rate=0.1, epochs=2),
        "seed": 3,
    }
    return Cell(
        suite="closer-look",
        profile="quick",
        protocol="closer-look",
        experiment="mnist",
        training=TrainingSpec(**{**spec, **training}),
        evaluation=EvaluationSpec(
            attack=component("attack", "pgd-10", steps=10),
            metrics=(),
            threat=Threat(epsilon=0.1),
            n_test=200,
            n_train_evaluated=50,
        ),
    )
