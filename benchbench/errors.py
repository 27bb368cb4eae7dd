"""One exception tree: what a user can mend, apart from bugs.

Every error that a user can mend derives from `BenchbenchError` and carries a message (what is wrong and where), a hint
(what would be right) and the exit status of the command line. Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class BenchbenchError(Exception):
    """A mistake that the user can mend.

    Args:
        message: what is wrong, and where.
        hint: what would be right, or the command that helps; may be empty.
    """

    exit_status = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(BenchbenchError):
    """An option, argument or combination of them that cannot be used."""


class UnknownNameError(UsageError):
    """A name that is not registered. The hint holds the nearest valid names."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        super().__init__(f"unknown {kind} {name!r}", hint=suggest(name, known))


class OptionError(UsageError):
    """A component option that is unknown, has the wrong type or is out of range."""


class PluginError(BenchbenchError):
    """A plugin that cannot be used: it failed to import, clashes, or offers something malformed."""


class ContractError(PluginError):
    """A plugin returned something that its contract forbids (shape, dtype, range, box, ball, NaN)."""


class DataError(BenchbenchError):
    """Data that is malformed: wrong shape, labels out of range, one class only."""


class MissingDataError(DataError):
    """Data that is not there. `fetch` is the command that brings it, or an instruction."""

    def __init__(self, message: str, *, fetch: str) -> None:
        super().__init__(message, hint=fetch)
        self.fetch = fetch


class CorruptDataError(DataError):
    """A data file that is truncated or whose checksum does not match."""


class StorageError(BenchbenchError):
    """A folder or file that cannot be written or read: no space, no permission, damaged."""


class TrainingError(BenchbenchError):
    """Training that cannot go on, for instance because the loss is not finite."""

    exit_status = 1


class OutOfMemoryError(TrainingError):
    """Training whose batches do not fit into the device's memory, and cannot go through the model in parts."""


class ExecutorError(BenchbenchError):
    """Worker processes that cannot be started, or that all die."""

    exit_status = 1


class RankError(BenchbenchError):
    """One of several processes that share a model cannot go on; the message names the rank that failed first. All end."""

    exit_status = 1


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake in a suite file.

    Attributes:
        location: dotted path of the entry, for instance ``experiments[0].defenses[2].beta``.
        message: what is wrong: expected and got.
        hint: nearest valid name, or what would be right; may be empty.
        line: line number in the file, from 1; None where it cannot be told.
    """

    location: str
    message: str
    hint: str = ""
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.location}: {self.message}{hint}"


class SuiteError(BenchbenchError):
    """A suite with one or more mistakes, all of them reported together.

    Args:
        source: file or name of the suite.
        problems: every mistake found.
    """

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        listing = "\n".join(f"  {problem}" for problem in self.problems)
        noun = "problem" if len(self.problems) == 1 else "problems"
        super().__init__(f"{source}: {len(self.problems)} {noun}\n{listing}")


def suggest(name: str, known: Iterable[str]) -> str:
    """Say the nearest known names to a mistaken one.

    Returns:
        "did you mean 'x'?" when something is close, otherwise the list of what is known.

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
