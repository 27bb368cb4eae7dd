"""A worker for toy units: ``toy_worker.py FOLDER ... --worker NAME [UNIT ...]``.

FOLDER holds ``units.json``. A finished unit has a file below ``done``; its process id is below ``pids``. The unit ``fragile``
kills the first worker that reaches it, before it begins. The unit ``slow`` takes minutes, unless there is a file ``fast``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

LONGEST_SECONDS = 300.0


def main() -> None:
    """Carry out the named units, or all, each once among all workers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("units", nargs="*")
    parser.add_argument("--token", required=True)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--leashed", action="store_true")
    options = parser.parse_intermixed_args()
    if (options.folder / "token").read_text(encoding="utf-8") != options.token:
        sys.exit(66)
    if options.leashed:
        threading.Thread(target=_end_with_input, daemon=True).start()
    for unit in options.units or json.loads((options.folder / "units.json").read_text(encoding="utf-8")):
        _carry_out(options.folder, unit)


def _carry_out(folder: Path, unit: str) -> None:
    if unit == "fragile" and _is_first(folder / "died"):
        os.kill(os.getpid(), signal.SIGKILL)
    if not _is_first(folder / "begun" / unit):
        return
    part = folder / f"{unit}.part"
    part.write_text(str(os.getpid()), encoding="utf-8")
    part.replace(folder / "pids" / unit)  # whoever waits for this file reads all of it
    end = time.monotonic() + (LONGEST_SECONDS if unit == "slow" else 0.0)
    while time.monotonic() < end and not (folder / "fast").exists():
        time.sleep(0.05)
    (folder / "done" / unit).write_text("", encoding="utf-8")


def _is_first(path: Path) -> bool:
    try:
        path.open("x").close()
    except FileExistsError:
        return False
    return True


def _end_with_input() -> None:
    while os.read(0, 1):
        pass
    os._exit(75)


if __name__ == "__main__":
    main()
