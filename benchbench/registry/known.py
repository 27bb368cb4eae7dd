"""The distributions under ``plugins/`` and their components, for hints."""

from __future__ import annotations

from collections.abc import Mapping

from benchbench.contract import Kind

KNOWN: Mapping[str, Mapping[Kind, tuple[str, ...]]] = {
    "benchbench-awp": {"architecture": ("preact-resnet-18",), "defense": ("awp-at", "awp-trades")},
    "benchbench-corruptions": {"metric": ("corruption-accuracy",)},
    "benchbench-dask": {"executor": ("dask",)},
    "benchbench-fast-at": {"defense": ("fast-at", "free-at"), "attack": ("fgsm-rs",)},
    "benchbench-mart": {"defense": ("mart",)},
    "benchbench-pruning": {"dataset": ("pruned",)},
    "benchbench-smoothing": {
        "defense": ("gaussian-noise",),
        "metric": ("certified-l2",),
        "suite": ("smoothing-digits",),
    },
}


def provider(kind: Kind, name: str) -> str:
    """The distribution that is known to provide a component; empty if none is.

    >>> provider("defense", "mart")
    'benchbench-mart'
    """
    return next((distribution for distribution, offers in KNOWN.items() if name in offers.get(kind, ())), "")
