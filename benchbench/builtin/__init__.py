"""Everything that ships with benchbench, offered through the same hooks as any other plugin.

``offers.toml`` lists it. All components refuse options out of range with an OptionError that names each of them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path

from benchbench.contract import Capabilities, Offer, hookimpl
from benchbench.version import install_command

_FOLDER = Path(__file__).parent


@hookimpl
def benchbench_datasets() -> Iterable[Offer]:
    """Built-in datasets."""
    return offers("dataset")


@hookimpl
def benchbench_architectures() -> Iterable[Offer]:
    """Built-in architectures."""
    return offers("architecture")


@hookimpl
def benchbench_defenses() -> Iterable[Offer]:
    """Built-in defenses."""
    return offers("defense")


@hookimpl
def benchbench_attacks() -> Iterable[Offer]:
    """Built-in attacks."""
    return offers("attack")


@hookimpl
def benchbench_metrics() -> Iterable[Offer]:
    """Built-in metrics."""
    return offers("metric")


@hookimpl
def benchbench_suites() -> Iterable[Offer]:
    """Built-in suites."""
    return offers("suite")


@hookimpl
def benchbench_executors() -> Iterable[Offer]:
    """Built-in executors."""
    return offers("executor")


@cache
def offers(kind: str) -> tuple[Offer, ...]:
    """The built-in offers of a kind, in the order of ``offers.toml``."""
    found = []
    for table in tomllib.loads((_FOLDER / "offers.toml").read_text(encoding="utf-8"))[kind]:
        stated = table.pop("capabilities", {})
        stated.update([(name, tuple(value)) for name, value in stated.items() if isinstance(value, list)])
        requires = {module: install_command(extra) for module, extra in stated.pop("requires", {}).items()}
        if kind == "suite":
            table["factory"] = partial(Path, _FOLDER / table["factory"])
        found.append(Offer(**table, capabilities=Capabilities(**stated, requires=requires)))
    return tuple(found)
