"""Options that are components: their type is a Protocol of the contract.

A suite writes such an option like any component: ``base = "digits"`` or ``base = { name = "digits", scale = 1 }``. The factory
receives the object that the component makes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_args

from benchbench.cell.model import Component
from benchbench.contract import Attack, Dataset, DescribedDataset, ExamplewiseMetric, Metric
from benchbench.contract.offers import Kind
from benchbench.contract.training import Defense, FittingDefense, RegressionDefense, SteppingDefense
from benchbench.errors import BenchbenchError, OptionError
from benchbench.registry.problems import InvalidOptionsError, OptionProblem

PROTOCOLS: Mapping[object, Kind] = {
    Dataset: "dataset",
    DescribedDataset: "dataset",
    Defense: "defense",
    SteppingDefense: "defense",
    FittingDefense: "defense",
    RegressionDefense: "defense",
    Attack: "attack",
    Metric: "metric",
    ExamplewiseMetric: "metric",
}
Resolve = Callable[[type, str, Mapping[str, object]], Component]  # Protocol, name, options -> the component


def takes_components(annotation: object) -> bool:
    """Whether values of a type are components or contain components."""
    return annotation in PROTOCOLS or any(takes_components(argument) for argument in get_args(annotation))


def resolve_option(protocol: type, name: str, options: Mapping[str, object], resolve: Resolve) -> Component:
    """Resolve a component that is an option of another; every error is an `InvalidOptionsError`."""
    try:
        return resolve(protocol, name, options)
    except InvalidOptionsError:
        raise
    except BenchbenchError as error:
        problem = OptionProblem(place=(), message=error.message, hint=error.hint)
        raise InvalidOptionsError(f"{PROTOCOLS[protocol]} {name!r}", [problem]) from error


def require_protocol(protocol: type, component: Component, product: object) -> None:
    """Raise `OptionError` unless the product keeps the option's Protocol."""
    if not isinstance(product, protocol):
        made = type(product).__name__
        raise OptionError(
            f"{component.kind} {component.name!r} makes a {made}, which is no {protocol.__name__}",
            hint=f"expected a {component.kind} that keeps the Protocol {protocol.__name__} of benchbench.contract",
        )
