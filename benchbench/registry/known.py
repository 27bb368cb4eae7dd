"""The distributions under ``plugins/`` and their components, for hints."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from benchbench.contract.offers import Kind
from benchbench.errors import UnknownNameError

NAMED = 3  # broken plugins in one message

KNOWN: Mapping[str, Mapping[Kind, tuple[str, ...]]] = {
    "benchbench-awp": {"architecture": ("preact-resnet-18",), "defense": ("awp-at", "awp-trades")},
    "benchbench-certified": {
        "architecture": ("strided-cnn", "lipschitz-mlp"),
        "defense": ("ibp", "crown-ibp", "lipschitz-margin"),
        "suite": ("certified-training",),
    },
    "benchbench-corruptions": {"metric": ("corruption-accuracy",)},
    "benchbench-dask": {"executor": ("dask",)},
    "benchbench-extra-data": {"defense": ("at-extra",)},
    "benchbench-fast-at": {"defense": ("fast-at", "free-at"), "attack": ("fgsm-rs",)},
    "benchbench-hat": {"defense": ("hat",)},
    "benchbench-mart": {"defense": ("mart",)},
    "benchbench-pruning": {"dataset": ("pruned",)},
    "benchbench-robustbench": {"architecture": ("robustbench",)},
    "benchbench-smoothing": {
        "defense": ("gaussian-noise",),
        "metric": ("certified-l2",),
        "suite": ("smoothing-digits",),
    },
    "benchbench-trades-ema": {"defense": ("trades-ema",)},
}


def provider(kind: Kind, name: str) -> str:
    """The distribution that is known to provide a component; empty if none is.

    >>> provider("defense", "mart")
    'benchbench-mart'
    """
    prefix = name.partition(":")[0]  # of a family
    return next((distribution for distribution, offers in KNOWN.items() if prefix in offers.get(kind, ())), "")


def unknown_name(kind: Kind, name: str, offered: Sequence[str], *, broken: Collection[str]) -> UnknownNameError:
    """The error for a name that is not offered; its hint names a known distribution.

    The `broken` distributions have problems, which may be why the name is missing.
    """
    error = UnknownNameError(kind, name, offered)
    distribution = provider(kind, name)
    if distribution in broken:
        error.hint = f"the distribution {distribution} provides it, and has a problem: see 'benchbench plugins doctor'"
    elif distribution:
        error.hint = f"the distribution {distribution} provides it: pip install {distribution}"
    elif broken:
        more = f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
        named = ", ".join(sorted(broken)[:NAMED]) + more
        error.hint += f" (plugins with problems: {named}; see 'benchbench plugins doctor')"
    return error
