"""Exchange leaderboards with RobustBench.

python -m benchbench_robustbench MODEL_INFO [BOARD]        import RobustBench's entries as published rows
python -m benchbench_robustbench export BOARD MODEL_INFO   write rows of AutoAttack as RobustBench's entries
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchbench.contract import DataError
from benchbench_robustbench.exporting import export_leaderboard
from benchbench_robustbench.published import SUITE, import_leaderboards


def main() -> int:
    """Import or export, and say in one line what was done; return the exit status."""
    arguments = sys.argv[1:]
    exported = len(arguments) == 3 and arguments[0] == "export"
    if len(arguments) not in (1, 2) and not exported:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    if exported:
        return _export(Path(arguments[1]), Path(arguments[2]))
    board = Path(arguments[1] if len(arguments) == 2 else f"leaderboards/{SUITE}.parquet")
    try:
        count = import_leaderboards(Path(arguments[0]), board)
    except DataError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{board}: {count} published rows\n")
    return 0


def _export(board: Path, model_info: Path) -> int:
    if not board.is_file():
        sys.stderr.write(f"error: there is no leaderboard {board}\n")
        return 2
    sys.stdout.write(f"{model_info}: {export_leaderboard(board, model_info)} entries\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
