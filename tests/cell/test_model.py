"""What ids of cells and models hold, and that old ids hold."""

from __future__ import annotations

import dataclasses

import pytest
from sample_rows import make_cell

from benchbench.cell.model import Component, canonical, digest
from benchbench.kernels.arithmetic import Precision


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_precision_is_part_of_a_cells_identity_and_old_ids_hold(precision: Precision) -> None:
    cell = make_cell()
    fast = dataclasses.replace(cell, evaluation=dataclasses.replace(cell.evaluation, precision=precision))
    assert fast.cell_id != cell.cell_id
    assert fast.training.model_id == cell.training.model_id  # one model for both
    assert "precision" not in canonical(cell)["evaluation"]
    assert canonical(fast)["evaluation"]["precision"] == precision


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_precision_of_training_is_part_of_a_models_identity_and_old_ids_hold(precision: Precision) -> None:
    cell = make_cell()
    recipe = dataclasses.replace(cell.training.recipe, precision=precision)
    fast = dataclasses.replace(cell, training=dataclasses.replace(cell.training, recipe=recipe))
    assert fast.cell_id != cell.cell_id
    assert fast.training.model_id != cell.training.model_id
    assert "precision" not in canonical(cell)["training"]["recipe"]
    assert canonical(fast)["training"]["recipe"]["precision"] == precision
    assert cell.identity()["train_precision"] == "float32"
    assert fast.identity()["train_precision"] == precision


COMPONENT = Component(kind="defense", name="gr", options={"beta": 1.0}, distribution="benchbench", version="0.1.0")


def test_first_revision_is_left_out_of_digests_and_a_later_one_changes_them() -> None:
    assert "revision" not in canonical(COMPONENT)
    revised = dataclasses.replace(COMPONENT, revision=2)
    assert canonical(revised)["revision"] == 2
    assert digest(revised) != digest(COMPONENT)
