"""Cells are read back from the text that rows hold."""

from __future__ import annotations

import dataclasses

from sample_rows import make_cell

from benchbench.cell.model import Component, to_json
from benchbench.cell.reading import read_cell

COMPONENT = Component(kind="defense", name="gr", options={"beta": 1.0}, distribution="benchbench", version="0.1.0")


def test_nested_component_with_a_revision_is_read_back() -> None:
    revised = dataclasses.replace(COMPONENT, revision=3)
    outer = dataclasses.replace(COMPONENT, name="outer", options={"inner": (revised,)})
    cell = make_cell(defense=outer)
    found = read_cell(to_json(cell))
    assert found == cell
    assert found.cell_id == cell.cell_id
    assert found.training.defense.options["inner"][0].revision == 3
