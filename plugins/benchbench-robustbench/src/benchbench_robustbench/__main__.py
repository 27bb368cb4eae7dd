"""python -m benchbench_robustbench MODEL_INFO [BOARD]: import RobustBench's leaderboards."""

from __future__ import annotations

import sys
from pathlib import Path

from benchbench.contract import DataError
from benchbench_robustbench.published import SUITE, import_leaderboards


def main() -> int:
    """Import, and say in one line what was done or what is wrong; return the exit status."""
    arguments = sys.argv[1:]
    if len(arguments) not in (1, 2):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    board = Path(arguments[1] if len(arguments) == 2 else f"leaderboards/{SUITE}.parquet")
    try:
        count = import_leaderboards(Path(arguments[0]), board)
    except DataError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{board}: {count} published rows\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
