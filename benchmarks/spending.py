"""Where the processor time of a run goes: one process, one thread, start-up included.

``OMP_NUM_THREADS=1 python -m benchmarks.spending --suite closer-look --data DATA [--only KEY=VALUE]...``. The standard
library's profiler counts processor time, so that other load matters little. It makes short Python functions look more
expensive.
"""

from __future__ import annotations

import cProfile
import importlib
import pstats
import tempfile
import time
from collections.abc import Sequence

from benchmarks.jobs import suite_arguments, suite_parser

Function = tuple[str, str]  # the end of a file's name, and a function of it
USED = ("executors.working", "harness.scheduling", "leaderboard", "planning", "pricing.cells")
# No function of a stage is called within another stage.
STAGES: dict[str, tuple[Function, ...]] = {
    "planning and prices": (("planning/preparing.py", "prepare"), ("running/execution.py", "with_prices")),
    "training": (("harness/cells.py", "train_cell"),),
    "attacks": (("evaluation/attacking.py", "attack_shard"),),
    "probes of attacks": (("evaluation/diagnostics.py", "examine"),),
    "records and boards": (("records/store.py", "write_cell"), ("leaderboard/rebuilding.py", "rebuild")),
}
PASSES: dict[str, tuple[Function, ...]] = {
    "forward passes": (("nn/modules/module.py", "_wrapped_call_impl"),),
    "backward passes": (("autograd/graph.py", "_engine_run_backward"),),
}


def seconds(stats: pstats.Stats, functions: Sequence[Function]) -> float:
    """Processor seconds in some functions and all that they call, a recursive call counted once."""
    return sum(
        entry[3]
        for (file, _, name), entry in stats.stats.items()  # type: ignore[attr-defined]
        if any(file.endswith(ending) and name == function for ending, function in functions)
    )


def profile(arguments: Sequence[str]) -> tuple[float, float, pstats.Stats]:
    """Run `benchbench`: processor seconds of the start-up and of all, and the profile."""
    from benchbench.cli import main

    for name in USED:
        importlib.import_module(f"benchbench.{name}")
    ready = time.process_time()
    profiler = cProfile.Profile(time.process_time)
    try:
        profiler.runcall(main, list(arguments))
    except SystemExit as end:
        if end.code:
            raise
    return ready, time.process_time(), pstats.Stats(profiler)


def main() -> None:
    """Print a line for each stage, then what all stages spend in passes."""
    given = suite_parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        places = ["--runs", f"{folder}/runs", "--leaderboards", f"{folder}/boards", "--jobs", "1"]
        ready, total, stats = profile([*suite_arguments(given), *places])
    stages = {"start-up, imports": ready} | {name: seconds(stats, functions) for name, functions in STAGES.items()}
    passes = {name: seconds(stats, functions) for name, functions in PASSES.items()}
    lines = {**stages, "metrics, the rest": total - sum(stages.values()), "total": total, **passes}
    for name, spent in lines.items():
        print(f"{name:<20} {spent:8.1f} s {spent / total:7.1%}")


if __name__ == "__main__":
    main()
