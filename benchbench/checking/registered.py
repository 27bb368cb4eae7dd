"""Compare a row's cell with the cells of the registered suite of that name."""

from __future__ import annotations

import functools
import json

from benchbench.cell.model import Cell, to_json
from benchbench.checking.evidence import Finding, code_changes
from benchbench.data import LoadedDataset
from benchbench.planning.planner import cells_like
from benchbench.registry import Registry
from benchbench.suite import Suite, read_suite

_CODE = {"distribution", "version", "revision", "sources"}  # of a component: `code_changes` names what differs


def judge_suite(
    cell: Cell, loaded: LoadedDataset, registry: Registry, findings: list[Finding], missing: list[str]
) -> bool:
    """Report a row's cell, on its `loaded` data, that its suite does not have; return whether the suite is registered.

    Seed and precision may be any. `missing` receives the report if an earlier version of the suite may have had the cell: its
    protocol is another one, or the code of its components.
    """
    if cell.suite not in {entry.offer.name for entry in registry.offers("suite")}:
        return False
    suite = _read(cell.suite, registry)
    planned = list(cells_like(cell, suite, registry, loaded))
    if _without_code(cell) not in map(_without_code, planned):
        values = [other.identity() for other in planned]
        odd = [name for name, value in cell.identity().items() if all(value != other[name] for other in values)]
        what = f"not a cell of {cell.suite}/{cell.profile} as registered here"
        what += f", which has other values of {', '.join(odd)}" if odd and planned else ""
        if suite.protocol != cell.protocol or code_changes(cell, registry):
            missing.append(what)
        else:
            findings.append(Finding(what=what))
    return True


@functools.lru_cache(maxsize=4)
def _read(name: str, registry: Registry) -> Suite:
    return read_suite(name, registry)


def _without_code(cell: Cell) -> object:
    """The configuration without the code of its components."""
    return json.loads(
        to_json(cell),
        object_hook=lambda found: {k: v for k, v in found.items() if "kind" not in found or k not in _CODE},
    )
