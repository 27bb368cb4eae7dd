"""A budget or a stop request, honoured at safe points."""

from __future__ import annotations

import math
import re
import time

from benchbench.errors import UsageError

BUDGET_USED = "the budget is used up"
_RESERVE_SECONDS = 5.0  # to write a checkpoint and the leaderboard
_RESERVE_SHARE = 0.1
_SLICE_SECONDS = 0.1
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


class Stopped(BaseException):
    """The work was stopped; no `Exception`, which would count as a failure of the cell."""


class StopRequest:
    """Decides whether to stop. Training checks it after each step, evaluation after each batch.

    Args:
        budget_seconds: from now on; a tenth of it, at most 5 s, is reserved for writing results. None for no limit.
        reserved: whether the parent process has already reserved that time.
    """

    def __init__(self, budget_seconds: float | None = None, *, reserved: bool = False) -> None:
        self.reason = ""
        self._deadline = math.inf
        if budget_seconds is not None:
            reserve = 0.0 if reserved else min(_RESERVE_SECONDS, _RESERVE_SHARE * budget_seconds)
            self._deadline = time.monotonic() + budget_seconds - reserve

    @property
    def limited(self) -> bool:
        """Whether there is a budget."""
        return self._deadline < math.inf

    @property
    def seconds_left(self) -> float:
        """Time left in the budget; infinite without one."""
        return self._deadline - time.monotonic()

    def request(self, reason: str) -> None:
        """Request a stop; signal handlers may call it."""
        self.reason = reason

    def is_due(self) -> bool:
        """Whether it is time to stop."""
        if not self.reason and self.seconds_left <= 0:
            self.reason = BUDGET_USED
        return bool(self.reason)

    def check(self) -> None:
        """Raise `Stopped` if it is time to stop."""
        if self.is_due():
            raise Stopped(self.reason)

    def wait(self, seconds: float) -> None:
        """Wait; raise `Stopped` as soon as it is time to stop."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check()
            time.sleep(min(_SLICE_SECONDS, seconds))


def parse_duration(text: str) -> float:
    """Parse a duration such as ``45s``, ``30m`` or ``1h30m`` into seconds.

    Raises:
        UsageError: the text is no duration, or it is 0.

    >>> parse_duration("1h30m")
    5400.0
    """
    found = _DURATION.fullmatch(text.strip().lower())
    parts = [float(part) if part else 0.0 for part in found.groups()] if found else [0.0]
    if not any(parts):
        raise UsageError(f"{text!r} is no duration above 0", hint="for instance 45s, 30m or 1h30m")
    hours, minutes, seconds = parts
    return 3600 * hours + 60 * minutes + seconds
