"""A thousand tiny cells in one suite: memory, files and time per cell stay as they are."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from pathlib import Path

import pytest
from run_processes import run

import benchbench
from benchbench.events import CellStarted, Event

CELLS = 1000
SUITE = f"""
name = "tiny"
protocol = "tiny-1"
seeds = {list(range(50))}

[defaults]
architectures = [{{ name = "mlp", hidden = [] }}]
attacks = [{{ name = "pgd", steps = 1 }}]
metrics = ["accuracy"]
threat = {{ norm = "linf", epsilon = 0.1 }}
recipe = {{ optimizer = "sgd", learning_rate = 0.001, batch_size = 8, epochs = 1 }}
n_train = 8
n_train_evaluated = 4
n_test = 4
"""
EXPERIMENT = """
[[experiments]]
name = "digits-{number}"
dataset = {{ name = "digits", scale = 1 }}
defenses = [{{ name = "trades", beta = {number}.0, steps = 1 }}]
"""


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.exhaustive
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
@pytest.mark.timeout(1200)
def test_many_cells_cost_what_the_first_ones_did(tmp_path: Path) -> None:
    experiments = "".join(EXPERIMENT.format(number=number) for number in range(1, CELLS // 50 + 1))
    (tmp_path / "tiny.toml").write_text(SUITE + experiments)
    moments: list[float] = []
    memory: list[int] = []
    descriptors: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, CellStarted):
            moments.append(time.process_time())  # the machine may be busy otherwise
            memory.append(resident_bytes())
            descriptors.append(len(os.listdir("/proc/self/fd")))

    result = run(tmp_path, watch)
    assert (result.finished, result.failed, len(result.rows)) == (CELLS, 0, CELLS)
    seconds = [later - earlier for earlier, later in itertools.pairwise(moments)]
    early, late = statistics.median(seconds[CELLS // 10 : CELLS * 3 // 10]), statistics.median(seconds[-CELLS // 5 :])
    growth = (memory[-1] - memory[CELLS // 5]) / 2**20
    print(f"{early * 1e3:.1f} ms, then {late * 1e3:.1f} ms a cell; {growth:.1f} MiB more; {descriptors[-1]} open files")
    assert late < 2 * early
    assert growth < 64
    assert max(descriptors[CELLS // 5 :]) <= max(descriptors[: CELLS // 5]) + 2
    began = time.monotonic()
    plan = benchbench.plan(str(tmp_path / "tiny.toml"), device="cpu", runs=tmp_path / "runs")
    print(f"plan of {CELLS} done cells: {time.monotonic() - began:.1f} s")
    assert len(plan.with_status("done")) == CELLS
    assert time.monotonic() - began < 60
