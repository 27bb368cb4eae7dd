"""Everything that ships with benchbench, offered through the same hooks as any other plugin.

All components refuse options out of range with an OptionError that names each of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from benchbench.builtin import architectures, attacks, datasets, defenses, executors, metrics, suites
from benchbench.contract import Offer, hookimpl


@hookimpl
def benchbench_datasets() -> Iterable[Offer]:
    """Built-in datasets."""
    return datasets.OFFERS


@hookimpl
def benchbench_architectures() -> Iterable[Offer]:
    """Built-in architectures."""
    return architectures.OFFERS


@hookimpl
def benchbench_defenses() -> Iterable[Offer]:
    """Built-in defenses."""
    return defenses.OFFERS


@hookimpl
def benchbench_attacks() -> Iterable[Offer]:
    """Built-in attacks."""
    return attacks.OFFERS


@hookimpl
def benchbench_metrics() -> Iterable[Offer]:
    """Built-in metrics."""
    return metrics.OFFERS


@hookimpl
def benchbench_suites() -> Iterable[Offer]:
    """Built-in suites."""
    return suites.OFFERS


@hookimpl
def benchbench_executors() -> Iterable[Offer]:
    """Built-in executors."""
    return executors.OFFERS
