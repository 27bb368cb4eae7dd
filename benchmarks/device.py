"""Check, measure, compute rows of the paper's protocol and pack them, on a GPU machine.

    BENCHBENCH_COMMIT=... python3 -m benchmarks.device --minutes 9 --data DATA --wheels WHEELS --from EARLIER --out OUT

Each step is a separate process with its own limit, so that a failure or hang is written down and stops no other. The
order is:

1. ``machine``: the card, torch, CUDA, driver, processor and commit.
2. ``tests``: ``pytest -m cuda``.
3. ``checks``: results against the CPU's, recorded steps against plain ones (`benchmarks.equality`).
4. ``speeds``: attacks, epochs and WRN-40-10 against bare passes (`benchmarks.speeds`).
5. ``sharing``: several processes on one GPU against one (`benchmarks.jobs`).
6. ``rows``: ``benchbench run --budget`` with the time that is left, going on from what earlier calls packed (``--from``, and
   what lies in OUT): finished cells are not computed again, an interrupted training goes on. It records CUDA graphs where the
   checks found no difference.
7. ``pack``: ``report.txt``, ``figures.json`` and archives (`benchmarks.packs`), at most 8 files of 15 MiB.

The whole ends within ``--minutes``. It needs torch, NumPy, timm (with safetensors), pyarrow, rich, pluggy and pytest; click is
brought along as a pure wheel (``--wheels``). benchmarks/README.md has the commands that prepare and start it on a machine
without internet and without .git. ``--device cpu`` with small sizes tries the whole of it anywhere.
"""

from __future__ import annotations

import argparse
import itertools
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.ledger import CHECK, GRAPHS, read_ledger
from benchmarks.sessions import Session, Step

OWN_FILES = 2  # report.txt and figures.json
STARTING = 20.0  # seconds of the run that its budget does not cover: imports before, the leaderboard after


def main(arguments: list[str] | None = None) -> int:
    """Take all steps; returns 0 if all of them ended well and no check found a difference."""
    options = read_options(arguments)
    session = Session(
        out=options.out, work=options.work, seconds=60 * options.minutes, wheels=options.wheels or Path("no-wheels")
    )
    session.begin(f"python3 -m benchmarks.device {shlex.join(sys.argv[1:] if arguments is None else arguments)}")
    for step in itertools.chain(measuring(options, session), computing(options, session)):
        if step.name not in options.skip:
            session.take(step)
    found = read_ledger(session.ledger)
    differing = [each["name"] for each in found if each["kind"] == CHECK and not each["ok"]]
    ill = [f"{step['name']} {step['status']}" for step in session.steps if step["status"] != "ok"]
    session.say(
        f"\nchecks that differ: {', '.join(differing) or 'none'}; steps not ended well: {', '.join(ill) or 'none'}"
    )
    return 1 if differing or ill else 0


def measuring(options: argparse.Namespace, session: Session) -> Iterator[Step]:
    """The steps before the rows."""
    here = ("--device", options.device, "--ledger", str(session.ledger))
    yield Step(name="machine", share=0.1, arguments=("-m", "benchmarks.machines", *here))
    if options.device.startswith("cuda"):
        tests = ("-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", "tests")
        yield Step(name="tests", share=0.15, arguments=tests)
    yield Step(name="checks", share=0.15, arguments=("-m", "benchmarks.equality", *here))
    sizes = ("--examples", options.examples, "--wide-examples", options.wide_examples, "--rounds", options.rounds)
    kinds = ("--wide", *options.wide, "--precisions", *options.precisions)
    yield Step(name="speeds", share=0.25, arguments=("-m", "benchmarks.speeds", *here, *map(str, (*sizes, *kinds))))
    profile, *only = options.sharing
    cells = ("--suite", options.suite, "--profile", profile, *_only(only), *_data(options))
    sharing = ("-m", "benchmarks.jobs", *here, *cells, "--rounds", "1", "--workers", str(options.workers))
    yield Step(name="sharing", share=0.15, arguments=sharing)


def computing(options: argparse.Namespace, session: Session) -> Iterator[Step]:
    """The steps that compute and pack rows, each made when the last is over, for the time left."""
    runs, boards = str(options.work / "runs"), str(options.work / "leaderboards")
    earlier = [str(folder) for folder in (*options.earlier, options.out)]
    yield Step(name="unpack", share=0.1, arguments=("-m", "benchmarks.archives", *earlier, "--runs", runs))
    cells = ("--suite", options.suite, "--profile", options.profile, *_only(options.only), *_data(options))
    places = ("--runs", runs, "--leaderboards", boards)
    left = session.limit(1.0)
    budget = max(left - min(STARTING, 0.3 * left), 1.0)
    ways = [*(("--jobs", str(options.jobs)) if options.jobs else ()), *_graphs(session)]
    run = ("--device", options.device, "--budget", f"{budget:.0f}s", "--quiet", *ways)
    yield Step(name="rows", share=1.0, arguments=("-m", "benchbench", "run", *cells, *places, *run))
    limits = ("--files", options.files - OWN_FILES, "--file-mib", options.file_mib, "--total-mib", options.total_mib)
    out = ("--out", str(options.out), "--ledger", str(session.ledger), *map(str, limits))
    yield Step(name="pack", share=1.0, last=True, arguments=("-m", "benchmarks.packs", *places, *out))


def _graphs(session: Session) -> list[str]:
    """The option for recorded steps, if all checks ran and those of graphs found no difference."""
    made = any(step["name"] == "checks" and step["status"] == "ok" for step in session.steps)
    found = [each for each in read_ledger(session.ledger) if each["name"].startswith(GRAPHS)]
    return ["--cuda-graphs"] if made and found and all(each.get("ok", False) for each in found) else []


def _only(filters: Sequence[str]) -> list[str]:
    return [part for each in filters for part in ("--only", each)]


def _data(options: argparse.Namespace) -> list[str]:
    return ["--data", str(options.data)] if options.data else []


def read_options(arguments: list[str] | None) -> argparse.Namespace:
    """The command line, paths made absolute."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    path = {"type": lambda text: Path(text).resolve()}
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument(
        "--out", required=True, **path, help="folder that comes back; what an earlier call left is gone on from"
    )
    parser.add_argument(
        "--from", dest="earlier", nargs="+", default=[], **path, help="folders that earlier calls brought back"
    )
    parser.add_argument("--wheels", **path, help="folder of pure wheels that this machine lacks")
    parser.add_argument("--data", **path, help="data root with MNIST/raw; default BENCHBENCH_DATA")
    parser.add_argument("--work", default=Path(tempfile.gettempdir(), "benchbench-device"), **path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--skip", nargs="+", default=[], metavar="STEP", help="steps to leave out")
    parser.add_argument("--suite", default="closer-look")
    parser.add_argument("--profile", default="paper")
    parser.add_argument("--only", nargs="+", default=["dataset=mnist"], metavar="KEY=VALUE", help="rows to compute")
    parser.add_argument("--jobs", type=int, help="processes that compute rows; default as benchbench run has it")
    parser.add_argument("--examples", type=int, default=4096)
    parser.add_argument("--wide", type=int, nargs=2, default=(40, 10), metavar=("DEPTH", "WIDTH"))
    parser.add_argument("--wide-examples", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precisions", nargs="+", default=["float32", "bf16", "tf32"])
    shared = ["short", "experiment=mnist", "defense=at,trades"]
    parser.add_argument("--sharing", nargs="+", default=shared, help="profile and filters of cells to share a GPU for")
    parser.add_argument("--workers", type=int, default=4, help="processes that share a GPU for them")
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--file-mib", type=float, default=15.0)
    parser.add_argument("--total-mib", type=float, default=60.0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
