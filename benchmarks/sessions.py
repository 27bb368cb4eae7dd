"""Run steps as processes, each with a limit, within a total time; report what they print."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.ledger import read_ledger

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 2**20  # characters of a step's output that the report keeps, the last ones
LAST = 0.08  # of the time, kept for the last step
STOPPING = 6.0  # seconds that a step has between SIGTERM and SIGKILL; a run writes its checkpoint meanwhile
FEWEST = 3.0  # seconds that a step is worth starting for


@dataclass(frozen=True, kw_only=True)
class Step:
    """A process.

    Attributes:
        share: of the whole time, at most.
        arguments: of Python.
        last: whether it has the time that is kept from the others.
    """

    name: str
    share: float
    arguments: Sequence[str]
    last: bool = False


@dataclass(kw_only=True)
class Session:
    """Some steps, one after the other.

    Attributes:
        out: gets ``report.txt`` and ``figures.json``, both up to date after each step.
        work: of the steps, and kept.
        seconds: that all of them may take together.
        wheels: a folder of pure wheels for the steps to import from; it need not be there.
        steps: how each of those taken ended.
    """

    out: Path
    work: Path
    seconds: float
    wheels: Path
    began: float = field(default_factory=time.monotonic)
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ledger(self) -> Path:
        """What the steps have found."""
        return self.work / "ledger.jsonl"

    def begin(self, title: str) -> None:
        """Make the folders, and remove what an earlier session reported there."""
        for folder in (self.work, self.out):
            folder.mkdir(parents=True, exist_ok=True)
        self.ledger.unlink(missing_ok=True)
        (self.out / "report.txt").unlink(missing_ok=True)
        self.say(title)

    def say(self, text: str) -> None:
        """Print, and put into the report."""
        print(text, flush=True)
        with (self.out / "report.txt").open("a", encoding="utf-8") as report:
            report.write(f"{text}\n")

    def limit(self, share: float, *, last: bool = False) -> float:
        """Seconds that a step with this share may take now, the stopping of it not counted."""
        kept = STOPPING if last else max(LAST * self.seconds, 2 * FEWEST) + 2 * STOPPING
        return min(share * self.seconds, self.began + self.seconds - time.monotonic() - kept)

    def take(self, step: Step) -> None:
        """Run a step within its limit, and report what it printed and how it ended."""
        limit = self.limit(step.share, last=step.last)
        self.say(f"\n== {step.name}: python {shlex.join(step.arguments)}")
        began = time.monotonic()
        status = self._run(step, limit) if limit >= FEWEST else "skipped, no time is left"
        seconds = time.monotonic() - began
        self.say(f"== {step.name}: {status}, {seconds:.0f} s of at most {max(limit, 0):.0f} s")
        self.steps.append({"name": step.name, "status": status, "seconds": seconds, "limit": limit})
        found = {"seconds": self.seconds, "steps": self.steps, "findings": read_ledger(self.ledger)}
        (self.out / "figures.json").write_text(json.dumps(found, indent=1), encoding="utf-8")

    def _run(self, step: Step, limit: float) -> str:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, *step.arguments],
                cwd=ROOT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            status = _ended(process, limit)
            log.seek(0)
            self.say(log.read()[-LONGEST:].rstrip())
        return status

    def _environment(self) -> dict[str, str]:
        """What the steps inherit: this tree and the wheels on the path, a separate home."""
        before = [path for path in [os.environ.get("PYTHONPATH", "")] if path]
        paths = [str(ROOT), *before, *sorted(map(str, self.wheels.glob("*.whl")))]
        home = str(self.work / "home")
        return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", "BENCHBENCH_HOME": home}


def _ended(process: subprocess.Popen[bytes], limit: float) -> str:
    """How a process ended, or that it was stopped at its limit, with all that it started."""
    try:
        code = process.wait(limit)
        return "ok" if code == 0 else f"failed with status {code}"
    except subprocess.TimeoutExpired:
        for sent in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sent)
                process.wait(STOPPING)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        return "stopped at its limit"
