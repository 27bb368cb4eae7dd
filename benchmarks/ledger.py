"""Findings of ``benchmarks.device``: shown and kept at once as JSON lines, safe if cut off."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.contest import Ratio

CHECK, RATIO, FACT, FAULT, PACKED, LEFT = "check", "ratio", "fact", "fault", "packed", "left out"
GRAPHS = "graph of "  # how the names of checks of recorded steps begin


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """A file of findings, one JSON object a line.

    Attributes:
        path: is appended to; None keeps nothing.
    """

    path: Path | None = None

    def add(self, kind: str, name: str, **values: Any) -> None:
        """Keep a finding."""
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": kind, "name": name, **values}) + "\n")

    def fact(self, name: str, value: object) -> None:
        """Show and keep what something is."""
        print(f"{name:<10} {value}", flush=True)
        self.add(FACT, name, value=value)

    def check(self, name: str, distance: float, *, most: float) -> None:
        """Show and keep a distance from the expected value, and whether it is at most `most`."""
        ok = distance <= most
        print(f"{'ok' if ok else 'DIFFERS':<8} {name}: {distance:.2g} (at most {most:.2g})", flush=True)
        self.add(CHECK, name, distance=distance, most=most, ok=ok)

    def ratios(self, title: str, ratios: Mapping[str, Ratio], goals: Mapping[str, float]) -> None:
        """Show and keep a competition."""
        from benchmarks.contest import show

        show(title, ratios, goals)
        for name, ratio in ratios.items():
            quartiles = {"median": ratio.median, "low": ratio.low, "high": ratio.high}
            self.add(RATIO, name, of=title, **quartiles, goal=goals.get(name))

    def fault(self, name: str, error: BaseException) -> None:
        """Show and keep that something could not be found out."""
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        print(f"FAILED   {name}: {reason}", flush=True)
        self.add(FAULT, name, error=reason)


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a ledger; none where there is no file."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:  # cut off in the middle
            continue
    return found
