"""What the options of these attacks have in common."""

from __future__ import annotations

from collections.abc import Mapping

from benchbench.contract import Norm, OptionError, Threat

NORMS: tuple[Norm, ...] = ("linf", "l2")
QUEUE_LENGTH = 1024  # examples per call, packed into full batches whenever some of them are fooled


def require(checks: Mapping[str, bool]) -> None:
    """Raise one OptionError for all conditions that do not hold."""
    broken = [message for message, holds in checks.items() if not holds]
    if broken:
        raise OptionError("; ".join(broken))


def require_norm(name: str, threat: Threat) -> None:
    """Raise an OptionError if the attack of this name does not work in the norm of the threat."""
    if threat.norm not in NORMS:
        raise OptionError(f"{name} works in {' and '.join(NORMS)}, the threat is {threat.norm}")
