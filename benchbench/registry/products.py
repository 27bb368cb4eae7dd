"""Check what a factory returns, by kind."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from benchbench.cell.model import Component
from benchbench.contract import Attack, Dataset, Defense, Executor, FittingDefense, Kind, Metric, SteppingDefense
from benchbench.errors import ContractError
from benchbench.registry.wording import with_article

_PROTOCOLS: Mapping[Kind, tuple[type, ...]] = {
    "dataset": (Dataset,),
    "defense": (Defense, SteppingDefense, FittingDefense),
    "attack": (Attack,),
    "metric": (Metric,),
    "suite": (str, os.PathLike),
    "executor": (Executor,),
}


def check_product(component: Component, product: Any) -> None:
    """Raise `ContractError` unless a factory made an object of its component's kind."""
    if component.kind == "architecture":  # an nn.Module, recognised without importing torch
        fits, expected = callable(product) and hasattr(product, "state_dict"), "nn.Module"
    else:
        protocols = _PROTOCOLS[component.kind]
        fits, expected = isinstance(product, protocols), " or ".join(protocol.__name__ for protocol in protocols)
    if not fits:
        raise ContractError(
            f"the factory of {component.kind} {component.name!r} ({component.distribution}) made "
            f"{with_article(type(product).__name__)}, expected: {expected}"
        )
