"""Ids of published rows stay equal when methods, suites or the distribution change.

``committed_ids.json`` holds cells and models by profile and experiment. After new rows, write it again with
``python tests/whole/test_committed_ids.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

import benchbench.data
from benchbench.cell.reading import read_cell
from benchbench.contract import DatasetSplits, DataSource, Examples
from benchbench.data import LoadedDataset, load_dataset
from benchbench.leaderboard.published import published_rows
from benchbench.planning import make_plan
from benchbench.registry import load_registry
from benchbench.suite import read_suite

LEADERBOARD = Path(__file__).resolve().parents[2] / "leaderboards" / "closer-look.parquet"
RECORDED = Path(__file__).with_name("committed_ids.json")
REVISED = ("llr", "trades")  # methods that were corrected since: their rows are of revision 1
MNIST = "2ad294ac0e8ba8071d3cbb6fb63581c254fd96e4b65e39c8b780aebd317a8ab7"
Ids = dict[str, dict[str, str]]


def columns(*names: str) -> Iterator[tuple[Any, ...]]:
    table = pq.read_table(LEADERBOARD, columns=list(names))
    return zip(*(table[name].to_pylist() for name in names))


def committed() -> Ids:
    """The ids of the measured rows, models by cells."""
    found: Ids = {}
    names = ("source", "configuration", "profile", "experiment", "cell_id", "model_id")
    for source, configuration, profile, experiment, cell, model in columns(*names):
        defense = json.loads(configuration)["training"]["defense"] if source == "measured" else None
        if defense and (defense["name"] not in REVISED or "revision" in defense):
            found.setdefault(f"{profile} {experiment}", {})[cell] = model
    return found


def recorded() -> Ids:
    ids: Ids = json.loads(RECORDED.read_text(encoding="utf-8"))
    return ids


@pytest.fixture
def without_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST by its digest and sizes alone, so that planning needs no files."""

    def load(registry: Any, component: Any, source: DataSource) -> LoadedDataset:
        if component.name != "mnist":
            return load_dataset(registry, component, source)
        train, test = (
            Examples(
                inputs=torch.zeros(1, 1, 28, 28, dtype=torch.uint8).expand(n, -1, -1, -1), labels=torch.arange(n) % 10
            )
            for n in (60_000, 10_000)
        )
        return LoadedDataset(splits=DatasetSplits(train=train, test=test, classes=tuple("0123456789")), digest=MNIST)

    monkeypatch.setattr(benchbench.data, "load_dataset", load)


def test_every_committed_id_is_recorded_and_still_there() -> None:
    assert committed() == recorded(), "rows are new or gone: see the top of this file"
    assert sum(len(cells) for cells in recorded().values()) > 90


def test_configuration_of_every_row_gives_its_ids() -> None:
    names = ("source", "configuration", "cell_id", "model_id")
    measured = [row[1:] for row in columns(*names) if row[0] == "measured"]
    cells = [read_cell(text) for text, *_ in measured]
    assert [(cell.cell_id, cell.training.model_id) for cell in cells] == [(cell, model) for _, cell, model in measured]


def test_published_rows_have_the_committed_ids() -> None:
    published = {cell for source, cell in columns("source", "cell_id") if source == "published"}
    assert {row.cell_id for row in published_rows("closer-look")} == published


@pytest.mark.usefixtures("without_mnist")
@pytest.mark.parametrize("profile", sorted({name.partition(" ")[0] for name in recorded()}))
def test_suite_file_gives_the_committed_ids(profile: str, tmp_path: Path) -> None:
    registry = load_registry()
    source = DataSource(root=tmp_path, cache=tmp_path)
    seeds = sorted({seed for of, seed in columns("profile", "seed") if of == profile and seed is not None})
    plan = make_plan(read_suite("closer-look", registry), registry, profile=profile, source=source, seeds=seeds)
    cells = [planned.cell for planned in plan.cells if planned.cell]
    found = {cell.cell_id: cell.training.model_id for cell in cells}
    wanted = {
        cell: model for name, ids in recorded().items() for cell, model in ids.items() if name.startswith(f"{profile} ")
    }
    assert {cell: found.get(cell, "is not planned") for cell in wanted} == wanted
    revisions = {cell.training.defense.revision for cell in cells if cell.training.defense.name in REVISED}
    assert 1 not in revisions


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(committed(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
