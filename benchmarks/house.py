"""The package's shape: rooms, arrows, files per cell, calls to an attack, lines, `Any`s.

    python -m benchmarks.house [--at COMMIT]...

The first column is the working tree; each ``--at`` adds that of a commit, from a temporary git worktree. A room is a folder
below ``benchbench``; a loose module counts as a room where arrows are counted. An arrow is a pair of rooms of which one imports
the other, also for type checking and inside functions.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "benchbench"
# Runs in the tree under study: a plain run of one cell, with every call of a function of the package recorded.
_LIFE = """
import json, sys, threading
from pathlib import Path

tree, place = Path(sys.argv[1], "benchbench").resolve(), Path(sys.argv[2])
files, ways = set(), []

def record(frame, event, argument):
    if event != "call" or frame.f_code.co_name.startswith("<") or not frame.f_code.co_filename.startswith(f"{tree}/"):
        return
    files.add(frame.f_code.co_filename)
    if frame.f_code.co_name == "perturb" and not ways:
        way = []
        while frame is not None:
            if frame.f_code.co_filename.startswith(f"{tree}/"):
                way.append((frame.f_code.co_filename, frame.f_code.co_name))
            frame = frame.f_back
        if not any("/pricing/" in file for file, _ in way):  # which tries the attack, to count its passes
            ways.append(way)

import benchbench
run = benchbench.run
threading.setprofile(record)
sys.setprofile(record)
result = run("smoke", profile="quick", only=("defense=natural",), device="cpu", runs=place / "runs",
             leaderboards=place / "leaderboards")
sys.setprofile(None)
(way,) = ways
below = [file for file, _ in way][1 : [name for _, name in way].index("run")]
print(json.dumps({"files": sorted(str(Path(file).relative_to(tree)) for file in files), "calls": len(below),
                  "files_between": len(set(below))}))
"""


def main(arguments: list[str] | None = None) -> None:
    """Measure the trees and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", action="append", default=[], metavar="COMMIT", help="a further commit to measure")
    options = parser.parse_args(arguments)
    columns = {"here": measure(ROOT)}
    for commit in options.at:
        with worktree(commit) as tree:
            columns[commit[:12]] = measure(tree)
    width = max(len(name) for name in columns["here"])
    print(" " * width, *(f"{name:>12}" for name in columns))
    for name in columns["here"]:
        print(f"{name:{width}}", *(f"{column[name]:12,}" for column in columns.values()))


def measure(tree: Path) -> dict[str, int]:
    """Every figure of a tree, by name."""
    return {**shape(tree / PACKAGE), **life(tree)}


def shape(package: Path) -> dict[str, int]:
    """What the sources alone show."""
    modules = {path: path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
    arrows = {pair for path, text in modules.items() for pair in arrows_from(path, text, package)}
    kinds = Counter(kind for text in modules.values() for kind in kinds_of_lines(text))
    rooms = {room_of(path, package) for path in modules if path.parent != package}
    return {
        "rooms": len(rooms),
        "loose modules": sum(path.parent == package for path in modules),
        "arrows": len(arrows),
        "modules": len(modules),
        "lines": sum(kinds.values()),
        **{f"lines: {kind}": kinds[kind] for kind in ("code", "docstring", "comment", "blank")},
        "lines with Any": sum(len(re.findall(r"^.*\bAny\b", text, re.MULTILINE)) for text in modules.values()),
    }


def room_of(path: Path, package: Path) -> str:
    """The first name below the package."""
    return path.relative_to(package).parts[0].removesuffix(".py")


def arrows_from(path: Path, text: str, package: Path) -> Iterator[tuple[str, str]]:
    """Pairs of a module's room and another that it imports; "__init__" is the bare package."""
    own = room_of(path, package)
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            exists = (package / other).is_dir() or (package / f"{other}.py").is_file()
            if first == package.name and other and own != (room := other if exists else "__init__"):
                yield own, room


def kinds_of_lines(text: str) -> list[str]:
    """For each line: code, docstring, comment or blank."""
    inside: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                inside |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return [_kind(line.strip(), number in inside) for number, line in enumerate(text.splitlines(), start=1)]


def _kind(line: str, in_docstring: bool) -> str:
    if in_docstring:
        return "docstring"
    return "comment" if line.startswith("#") else "code" if line else "blank"


def life(tree: Path) -> dict[str, int]:
    """What one cell of the smoke suite executes, from `benchbench.run` to its row.

    Files are those with a function that is called. The way to an attack is that of the first call of ``perturb``; the calls
    between `run` and it are counted, and the files that they are in.
    """
    with tempfile.TemporaryDirectory() as place:
        environment = {**os.environ, "PYTHONPATH": str(tree), "BENCHBENCH_HOME": place, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", _LIFE, str(tree), place]
        done = subprocess.run(  # noqa: S603
            command, env=environment, cwd=place, check=True, stdout=subprocess.PIPE, text=True
        )
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        "files in a cell's life": len(found["files"]),
        "rooms in a cell's life": len({file.partition("/")[0] for file in found["files"]}),
        "calls from run to perturb": found["calls"],
        "files from run to perturb": found["files_between"],
    }


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """Check a commit out in a temporary folder, and remove it."""
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place) / "tree"
        _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *arguments], check=True)  # noqa: S603, S607


if __name__ == "__main__":
    main()
