"""What needs a CUDA device, on the pretend one: the tests marked ``cuda``, and whole runs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pretend_device import ROOT, needs_pretend_device, on_pretend_device
from run_processes import NOT_COMPARED

import benchbench
from benchbench.leaderboard.files import read_rows

pytestmark = [needs_pretend_device, pytest.mark.slow, pytest.mark.timeout(900)]


def test_tests_marked_cuda_pass() -> None:
    files = [path for path in ROOT.glob("tests/**/test_*.py") if path.parent.name != "benchmarks"]  # minutes of timing
    marked = [str(path) for path in sorted(files) if "mark.cuda" in path.read_text()]
    assert len(marked) >= 7
    said = on_pretend_device("-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", *marked, gpus=2)
    assert int(re.findall(r"(\d+) passed", said)[-1]) >= 50, said


@pytest.fixture(scope="module")
def of_the_cpu(tmp_path_factory: pytest.TempPathFactory) -> Sequence[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("cpu")
    benchbench.run("smoke", profile="quick", device="cpu", runs=folder / "runs", leaderboards=folder)
    return compared(folder)


def compared(folder: Path) -> Sequence[dict[str, Any]]:
    """The rows of a run; the optimiser's fused step on CUDA rounds otherwise than the CPU's, so numbers are equal nearly."""
    rows = [dataclasses.asdict(row) for row in read_rows(folder / "smoke.parquet")]
    left_out = {*NOT_COMPARED, "device", "outcomes_digest"}
    return [{name: nearly(value) for name, value in row.items() if name not in left_out} for row in rows]


def nearly(value: Any) -> Any:
    return pytest.approx(value, rel=1e-6) if isinstance(value, float) else value


@pytest.mark.parametrize(
    ("options", "workers"),
    [
        pytest.param((), [], id="alone", marks=pytest.mark.exhaustive),
        pytest.param(("--jobs", "2", "--cuda-graphs"), ["0", "1"], id="two GPUs", marks=pytest.mark.exhaustive),
    ],
)
def test_smoke_suite_has_the_rows_of_the_cpu(
    options: tuple[str, ...], workers: list[str], of_the_cpu: Sequence[dict[str, Any]], tmp_path: Path
) -> None:
    places = ("--runs", str(tmp_path / "runs"), "--leaderboards", str(tmp_path))
    command = ("run", "--suite", "smoke", "--profile", "quick", "--device", "cuda", "--quiet", *options, *places)
    on_pretend_device("-m", "benchbench", *command, gpus=2, report=tmp_path / "counts")
    rows = [dataclasses.asdict(row) for row in read_rows(tmp_path / "smoke.parquet")]
    for row, expected in zip(rows, of_the_cpu, strict=True):
        assert {name: row[name] for name in expected} == expected
        assert row["device"].startswith("cuda (Pretend GPU)")
    reports = [path.read_text() for path in tmp_path.glob("counts/*")]
    seen = [found[1] for text in reports if (found := re.search("CUDA_VISIBLE_DEVICES: ([0-9])", text))]
    assert sorted(seen) == workers  # each worker has a card of its own
