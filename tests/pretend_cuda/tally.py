"""What is counted, by operation and by the line of code that asked for it."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = str(Path(__file__).parent)
Counts = Counter[tuple[str, str]]


@dataclass
class Tally:
    """Counters by (operation, file:line).

    Attributes:
        launches: of kernels, estimates; a replay of a graph is one.
        syncs: the host waits for the device.
        copies: of the host's pageable memory to the device, which block as well.
        float64: launches on tensors of float64, which some devices lack.
        captures: graphs recorded.
    """

    launches: Counts = field(default_factory=Counter)
    syncs: Counts = field(default_factory=Counter)
    copies: Counts = field(default_factory=Counter)
    float64: Counts = field(default_factory=Counter)
    captures: int = 0

    @property
    def waits(self) -> Counts:
        """Synchronisations and pageable copies together."""
        return self.syncs + self.copies

    def report(self, most: int = 60) -> str:
        """The sums, and the lines that wait most often."""
        kinds = {"launches": self.launches, "syncs": self.syncs, "copies": self.copies, "float64": self.float64}
        lines = [
            ", ".join(f"{counts.total()} {kind}" for kind, counts in kinds.items()) + f", {self.captures} captures"
        ]
        for kind in ("syncs", "copies", "float64"):
            lines += [f"{kind:8} {n:7} {what:24} {place}" for (what, place), n in kinds[kind].most_common(most)]
        return "\n".join(lines)


_tallies: list[Tally] = []


@contextlib.contextmanager
def counting() -> Iterator[Tally]:
    """Count what happens within the block; blocks may be nested."""
    tally = Tally()
    _tallies.append(tally)
    try:
        yield tally
    finally:
        _tallies.remove(tally)


def note(kind: str, what: str, times: int = 1) -> None:
    """Add to one of the counters of each open tally."""
    if _tallies and times:
        key = (what, place())
        for tally in _tallies:
            getattr(tally, kind)[key] += times


def note_capture() -> None:
    """Count a recorded graph."""
    for tally in _tallies:
        tally.captures += 1


def place() -> str:
    """File and line of the innermost frame that is neither torch's nor the pretend device's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and not _named(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{_named(frame.f_code.co_filename) or frame.f_code.co_filename}:{frame.f_lineno}"


@functools.cache
def _named(file: str) -> str:
    """The last parts of a file's path; empty for a file that is passed over."""
    passed_over = (HERE, str(Path(str(sys.modules["torch"].__file__)).parent), contextlib.__file__, "<")
    return "" if file.startswith(passed_over) else "/".join(Path(file).parts[-3:])
