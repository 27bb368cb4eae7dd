"""Which components of a recorded cell compute by other code here than they did when it was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from benchbench.cell.model import Cell
from benchbench.errors import BenchbenchError
from benchbench.registry import Registry


def code_changes(cell: Cell, registry: Registry) -> Mapping[str, tuple[str, str]]:
    """Code recorded and here, by component: ``{"defense llr": ("revision 1", "revision 2")}``.

    Components that are not here are left out.
    """
    found: dict[str, tuple[str, str]] = {}
    for component in cell.components:
        with suppress(BenchbenchError):
            here = registry.as_here(component)
            if here.code != component.code:
                found[f"{component.kind} {component.name}"] = (component.code, here.code)
    return found
