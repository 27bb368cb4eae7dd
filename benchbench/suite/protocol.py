"""The threat of the paper's protocol for a dataset."""

from __future__ import annotations

from collections.abc import Mapping

from benchbench.contract.threat import Norm, Threat
from benchbench.errors import UsageError
from benchbench.registry import Registry
from benchbench.suite.reading import read_suite

PROTOCOL_SUITE = "closer-look"
_EXAMPLES: Mapping[Norm, str] = {"linf": "8/255", "l2": "128/255", "l1": "12"}  # usual radii, for messages


def protocol_threat(registry: Registry, dataset: str, norm: Norm | None = None) -> Threat | None:
    """The first threat of the paper's protocol for a dataset, in a norm; None if it has none."""
    suite = read_suite(PROTOCOL_SUITE, registry)
    experiments = (experiment for profile in suite.profiles for experiment in suite.profile(profile))
    threats = (experiment.threat for experiment in experiments if experiment.dataset.name == dataset)
    return next((threat for threat in threats if norm in (None, threat.norm)), None)


def choose_threat(
    registry: Registry, dataset: str, *, norm: Norm | None = None, epsilon: float | str | None = None
) -> Threat:
    """The caller's threat (by default L-inf), or the protocol's; UsageError if it has no radius."""
    if epsilon is not None:
        return Threat(norm=norm or "linf", epsilon=epsilon)
    threat = protocol_threat(registry, dataset, norm)
    if threat is None:
        raise UsageError(
            f"the protocol has no {norm or ''} radius for dataset {dataset!r}".replace("  ", " "),
            hint=f"give one: --norm {norm or 'linf'} --epsilon {_EXAMPLES[norm or 'linf']}, or a Threat in Python",
        )
    return threat
