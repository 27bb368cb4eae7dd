"""The exceptions for faults that a user can correct.

All derive from `BenchbenchError` and have a message (what is wrong and where), a hint (what would be right) and the exit
status of the command line. Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchbench.escaping import printable

MOST_SHOWN = 20  # problems of one file
PLUGIN_FAULTS = (Exception, SystemExit)  # what other people's code may raise, also by sys.exit


class BenchbenchError(Exception):
    """A fault that the user can correct.

    Args:
        message: what is wrong, and where.
        hint: what would be right, or a command that helps; may be empty.
    """

    exit_status = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(BenchbenchError):
    """An unusable option, argument or combination of them."""


class UnknownNameError(UsageError):
    """A name that is not registered. The hint holds the nearest valid names."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, hint: str = "") -> None:
        self.kind = kind
        self.name = name
        super().__init__(f"unknown {kind} {name!r}", hint=hint or suggest(name, known))


class OptionError(UsageError):
    """A component option that is unknown, has the wrong type or is out of range."""


class PluginError(BenchbenchError):
    """An unusable plugin: it fails to import, clashes with another, or makes a malformed offer."""


class ContractError(PluginError):
    """A plugin broke its contract (shape, dtype, range, box, ball, NaN)."""


class NoBoundError(BenchbenchError):
    """A network that sound bounds do not cover; the message names the layer and where it is."""


class DataError(BenchbenchError):
    """Malformed data: wrong shape, labels out of range, one class only."""


class MissingDataError(DataError):
    """Missing data. `fetch` is the command that downloads it, or an instruction."""

    def __init__(self, message: str, *, fetch: str) -> None:
        super().__init__(message, hint=fetch)
        self.fetch = fetch


class CorruptDataError(DataError):
    """A data file is truncated, or its checksum does not match."""


class StorageError(BenchbenchError):
    """A folder or file cannot be written or read: no space, no permission, damaged."""


class TrainingError(BenchbenchError):
    """Training cannot continue, for instance because the loss is not finite."""

    exit_status = 1


class OutOfMemoryError(TrainingError):
    """The device's memory does not suffice for a training, whose batches cannot be divided."""


class ExecutorError(BenchbenchError):
    """Worker processes cannot be started, or all die."""

    exit_status = 1


class RankError(BenchbenchError):
    """A process that shares a model failed; all end, and the message names the first rank."""

    exit_status = 1


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake in a suite file."""

    location: str  # dotted path of the entry, for instance ``experiments[0].defenses[2].beta``
    message: str  # what is wrong: expected and got
    hint: str = ""  # nearest valid name, or what would be right; may be empty
    line: int | None = None  # line number in the file, from 1; None if unknown

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.location}: {self.message}{hint}"


class SuiteError(BenchbenchError):
    """A suite with mistakes, all reported together.

    Args:
        source: file or name of the suite.
        problems: every mistake.
    """

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        listing = "\n".join(f"  {printable(str(problem))}" for problem in first(self.problems))
        super().__init__(f"{source}: {counted(len(self.problems), 'problem')}\n{listing}")


def first(problems: Sequence[object]) -> list[str]:
    """The first `MOST_SHOWN` problems as texts, and how many more there are."""
    more = len(problems) - MOST_SHOWN
    return [*map(str, problems[:MOST_SHOWN]), *([f"and {more:,} more"] if more > 0 else [])]


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 problem``, ``2,000 problems``."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def suggest(name: str, known: Iterable[str]) -> str:
    """Ask "did you mean 'x'?" for similar known names; if there are none, list all names.

    >>> suggest("tradse", ["trades", "at"])
    "did you mean 'trades'?"
    """
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    if not names:
        return "none is registered"
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"known: {shown}"
