"""Progress in a notebook, shown without being requested; nothing in plain scripts."""

from __future__ import annotations

import importlib
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from benchbench.escaping import printable
from benchbench.events import EvaluationProgress, Event, Listener, WorkerProgress, ignore
from benchbench.events.wording import describe, describe_progress

KEPT = 20  # lines in the output of a notebook's cell, the newest ones
UPDATE_SECONDS = 0.5  # between two updates for progress within a cell


def default_listener() -> Listener:
    """A display in a Jupyter kernel, else a listener that shows nothing."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is None:  # a script, or IPython on a terminal
        return ignore
    return NotebookDisplay(importlib.import_module("IPython.display").display)


class NotebookDisplay:
    """Shows the lines of the last events, and one for progress, by IPython's `display`."""

    def __init__(self, display: Callable[..., object], now: Callable[[], float] = time.monotonic) -> None:
        self._display, self._now = display, now
        self._handle: Any = None
        self._lines: deque[str] = deque(maxlen=KEPT)
        self._last = -math.inf
        self._several = False

    def __call__(self, event: Event) -> None:
        """Update the output; for progress within a cell at most every `UPDATE_SECONDS`."""
        self._several |= isinstance(event, WorkerProgress)
        line, progress = describe(event, several=self._several), describe_progress(event)
        if line is not None:
            self._lines.append(printable(line))
        elif progress is None or (self._now() - self._last < UPDATE_SECONDS and not _is_complete(event)):
            return
        self._last = self._now()
        content = {"text/plain": "\n".join([*self._lines, *([printable(progress)] if progress else [])])}
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def _is_complete(event: Event) -> bool:
    return isinstance(event, EvaluationProgress) and event.done == event.total
