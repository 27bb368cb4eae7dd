"""Renews the flags of a row that older diagnostics recorded, without training or attack."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from benchbench.cell.model import DIAGNOSTICS, Cell
from benchbench.data import subset
from benchbench.evaluation import Attacked, diagnose, lives_off_gradients
from benchbench.evaluation.certificates import unanswered
from benchbench.evaluation.subject import borrowed, place
from benchbench.harness.workbench import Workbench
from benchbench.records import Row, flags_are_current
from benchbench.training.checkpoint import weights_digest


def renew_flags(cell: Cell, model: nn.Module, bench: Workbench) -> Row | None:
    """Diagnose a finished cell again from its evidence; return its row with new flags.

    It is None if the run is fresh, the cell is not finished, its flags are current, or its evidence is incomplete or from other
    weights.
    """
    row = None if bench.fresh else bench.store.finished_row(cell.cell_id)
    if row is None or flags_are_current(row):
        return None
    weights = bench.store.weights_of(cell.cell_id)
    if weights not in ("", weights_digest(model.state_dict())):
        return None
    outcomes = bench.store.read_outcomes(row.outcomes_digest)
    witnesses = bench.store.read_witnesses(row.witnesses_digest)
    if outcomes is None or witnesses is None:
        return None
    test = subset(bench.splits(cell.training.dataset).test, cell.evaluation.n_test, "test")
    with borrowed(model.to(bench.device)):
        flags = diagnose(
            Attacked(
                model=model,
                threat=cell.evaluation.threat,
                test=place("test", test.examples, test.indices, bench.device),
                seed=cell.training.seed,
                prediction=torch.from_numpy(outcomes["prediction"]),
                robust=torch.from_numpy(outcomes["robust"]),
                candidates=torch.from_numpy(witnesses),
                uses_gradients=_used_gradients(row, cell, bench),
            )
        )
    kept = unanswered(flags, {name: torch.from_numpy(column) for name, column in outcomes.items()})
    renewed = dataclasses.replace(row, flags=kept, diagnostics=DIAGNOSTICS)
    bench.store.write_row(renewed, weights=weights)
    return renewed


def _used_gradients(row: Row, cell: Cell, bench: Workbench) -> bool:
    # older rows have no queries; the offer of their attack says whether it needs gradients
    if row.queries is None or row.gradient_queries is None:
        return bench.registry.capabilities(cell.evaluation.attack).needs_gradients
    return lives_off_gradients(row.queries, row.gradient_queries)
