"""The benchmark of a device runs where there is one, and, to be tested, on a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--examples", "64", "--wide", "10", "1", "--wide-examples", "64", "--rounds", "1"]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_it_prints_every_precision_for_attacks_and_trainings(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.device import main

    main(["--device", "cpu", *SMALL])
    told = capsys.readouterr().out
    for expected in ("PGD, float32", "PGD, tf32", "PGD, bf16", "AT, float32", "AT, bf16", "WRN-10-1"):
        assert expected in told
    assert "recorded" not in told


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_records_on_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.device import main

    main(["--device", "cuda", *SMALL])
    told = capsys.readouterr().out
    assert "recorded steps: 1.00000 of the pixels" in told
    assert "AT, bf16, recorded" in told


def test_every_file_of_figures_is_of_the_command_that_measures_it_today() -> None:
    from benchmarks.__main__ import BENCHMARKS, MEASURED

    for name, benchmark in BENCHMARKS.items():
        assert (ROOT / "benchmarks" / f"{benchmark.module}.py").is_file(), name
    kept = sorted(MEASURED.glob("*.txt"))
    assert kept
    for file in kept:
        command = file.read_text().splitlines()[0].removeprefix("$ python -m ").split()
        data = Path(command[command.index("--data") + 1]) if "--data" in command else Path()
        assert command == BENCHMARKS[file.stem].command(data), f"{file.name} was measured by another command"
