"""Mutated suites, leaderboards and other files give what they say or a clean error, never a traceback or a hang.

Always: what was found before, and some hundred mutations that hypothesis steers. With atheris installed and
BENCHBENCH_EXHAUSTIVE=1, 100,000 mutations in all that coverage guides.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing.targets import SEEDS, TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
FOUND = sorted((HERE / "found").glob("*/*"))
RUNS = {  # of the exhaustive campaign: 100,000 in all
    "suite-text": 25_000,
    "suite-edits": 15_000,
    "suite-values": 20_000,
    "leaderboard-bytes": 5_000,
    "leaderboard-edits": 15_000,
    "leaderboard-values": 8_000,
    "outcome-values": 4_000,
    "evidence-edits": 4_000,
    "submission-edits": 4_000,
    "checkpoint-values": 4_000,
    "record-values": 4_000,
    "data-files": 3_000,
    "plugin-offers": 3_000,
    "plugin-metadata": 2_000,
    "command-options": 2_000,
}
EXAMPLES = 20
SECONDS_PER_INPUT = 60  # on a machine however busy; most take a hundredth of a second


def test_the_exhaustive_campaign_is_of_a_hundred_thousand_mutations() -> None:
    assert RUNS.keys() == TARGETS.keys()
    assert sum(RUNS.values()) >= 100_000


@pytest.mark.parametrize("path", FOUND, ids=[f"{path.parent.name}-{path.name}" for path in FOUND])
def test_what_was_found_before_stays_mended(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_mutation_gives_a_result_or_a_clean_error(name: str) -> None:
    for seed in SEEDS.get(name, ()):
        TARGETS[name](seed)

    @settings(max_examples=EXAMPLES)
    @given(data=st.binary(max_size=100))
    def mutate(data: bytes) -> None:
        TARGETS[name](data)

    mutate()


def campaign(name: str, runs: int, folder: Path) -> None:
    """Fuzz in a process of its own, for what crashes may take the process with it."""
    program = [sys.executable, str(HERE / "campaign.py"), name, f"-runs={runs}", "-seed=1", "-len_control=0"]
    bounds = [f"-timeout={SECONDS_PER_INPUT}", "-rss_limit_mb=6000", f"-artifact_prefix={folder}/"]
    length = f"-max_len={2 * max((len(seed) for seed in SEEDS.get(name, ())), default=100)}"
    done = subprocess.run(
        [*program, *bounds, length, str(folder / "corpus")],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    kept = [path.name for path in folder.iterdir() if path.is_file()]
    assert (done.returncode, kept) == (0, []), done.stderr[-4000:]
    assert f"Done {runs} runs" in done.stderr


needs_atheris = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")


@needs_atheris
@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.exhaustive  # takes an hour
@pytest.mark.parametrize("name", RUNS)
def test_campaign_of_a_hundred_thousand_mutations_finds_nothing(name: str, tmp_path: Path) -> None:
    campaign(name, RUNS[name], tmp_path)
