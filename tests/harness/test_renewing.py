"""Rows that older diagnostics flagged are diagnosed anew; what was trained and attacked stays."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from run_processes import run, write_suite
from sample_rows import make_cell, make_row, signed

import benchbench
from benchbench.cell.model import DIAGNOSTICS
from benchbench.events import EvaluationProgress, Event, TrainingProgress
from benchbench.harness.renewing import _used_gradients
from benchbench.records import Row, RunStore, schema
from benchbench.registry import load_registry

METRICS = ["accuracy", "adversarial-accuracy", "lipschitz"]


@pytest.fixture(autouse=True)
def _suite(tmp_path: Path) -> None:
    write_suite(tmp_path, defenses=["natural"], attacks=["pgd-10"], metrics=METRICS)


def make_older(record: Path) -> None:
    """Write a record as a run of schema 2 did."""
    row = json.loads(record.read_text())["row"]
    record.write_bytes(signed({column: row[column] for column in schema(2).names}))


def age(folder: Path, row: Row, weights: str = "") -> Row:
    """Make the recorded row one of older diagnostics, which raised another flag."""
    older = dataclasses.replace(row, flags=("an-old-flag",), diagnostics=DIAGNOSTICS - 1, gradient_queries=None)
    RunStore(folder / "runs").write_row(older, weights=weights)
    return older


def test_older_flags_are_renewed_without_training_or_attacking_again(tmp_path: Path) -> None:
    (fresh,) = run(tmp_path).rows
    assert (fresh.diagnostics, fresh.gradient_queries) == (DIAGNOSTICS, fresh.queries)
    age(tmp_path, fresh)
    plan = benchbench.plan(str(tmp_path / "tiny.toml"), device="cpu", runs=tmp_path / "runs")
    assert [cell.status for cell in plan.cells] == ["ready"]
    heard: list[Event] = []
    result = run(tmp_path, heard.append)
    (renewed,) = result.rows
    assert result.finished == 1
    assert not [event for event in heard if isinstance(event, (TrainingProgress, EvaluationProgress))]
    assert dataclasses.replace(renewed, gradient_queries=fresh.gradient_queries) == fresh
    assert run(tmp_path).finished == 0


def test_row_that_was_measured_on_other_weights_is_evaluated_anew(tmp_path: Path) -> None:
    (fresh,) = run(tmp_path).rows
    age(tmp_path, fresh, weights="0" * 64)
    heard: list[Event] = []
    (again,) = run(tmp_path, heard.append).rows
    assert [event for event in heard if isinstance(event, EvaluationProgress)]
    assert again.flags == fresh.flags
    assert RunStore(tmp_path / "runs").weights_of(fresh.cell_id) != "0" * 64


@pytest.mark.parametrize(
    ("queries", "gradients", "expected"),
    [(100, 50, True), (100, 49, False), (100, 0, False), (None, None, True), (100, None, True)],
)
def test_an_attack_uses_gradients_where_half_of_its_queries_ask_for_one(
    queries: int | None, gradients: int | None, expected: bool
) -> None:
    row = make_row(queries=queries, gradient_queries=gradients)
    bench: Any = SimpleNamespace(registry=load_registry())
    assert _used_gradients(row, make_cell(), bench) is expected  # of older rows the offer of pgd-10 says it


def test_row_whose_witnesses_are_gone_is_evaluated_anew(tmp_path: Path) -> None:
    (fresh,) = run(tmp_path).rows
    age(tmp_path, fresh)
    (tmp_path / "runs" / "witnesses" / f"{fresh.witnesses_digest}.parquet").unlink()
    heard: list[Event] = []
    (again,) = run(tmp_path, heard.append).rows
    assert [event for event in heard if isinstance(event, EvaluationProgress)]
    assert (again.flags, again.diagnostics, again.witnesses_digest) == (
        fresh.flags,
        DIAGNOSTICS,
        fresh.witnesses_digest,
    )


def test_regressions_have_no_diagnostics_and_are_not_pending(tmp_path: Path) -> None:
    pytest.importorskip("cvxpy")
    result = benchbench.run(
        "closer-look",
        profile="quick",
        only=["dataset=staircase", "defense=natural"],
        device="cpu",
        runs=tmp_path / "runs",
        leaderboards=tmp_path / "boards",
    )
    (row,) = result.rows
    assert (row.diagnostics, row.flags) == (0, ())
    make_older(tmp_path / "runs" / "cells" / f"{row.cell_id}.json")
    again = benchbench.plan(
        "closer-look",
        profile="quick",
        only=["dataset=staircase", "defense=natural"],
        device="cpu",
        runs=tmp_path / "runs",
    )
    assert [cell.status for cell in again.cells if cell.cell] == ["done"]


def test_flags_of_newer_diagnostics_are_left_as_they_are(tmp_path: Path) -> None:
    (fresh,) = run(tmp_path).rows
    newer = dataclasses.replace(fresh, flags=("a-new-flag",), diagnostics=DIAGNOSTICS + 1)
    RunStore(tmp_path / "runs").write_row(newer, weights="")
    again = run(tmp_path)
    assert (again.finished, again.rows) == (0, (newer,))
