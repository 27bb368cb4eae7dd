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


@pytest.mark.slow
@pytest.mark.exhaustive  # takes a minute
def test_it_prints_and_keeps_a_table_for_each_work(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from benchmarks.ledger import read_ledger
    from benchmarks.speeds import main

    main(["--device", "cpu", *SMALL, "--precisions", "tf32", "--ledger", str(tmp_path / "ledger")])
    printed = capsys.readouterr().out
    assert "recorded" not in printed
    found = read_ledger(tmp_path / "ledger")
    assert {each["kind"] for each in found} == {"ratio"}
    titles = dict.fromkeys(each["of"].split(",")[0] for each in found)
    works = ["An epoch of AT", "An epoch of TRADES", "PGD-10", "An epoch of AT", "Lipschitzness"]
    assert list(titles) == [*dict.fromkeys(works), "MT on a model that nothing fools"]
    assert all(title in printed for title in titles)
    assert any("WRN-10-1" in each["of"] and each["name"] == "AT, tf32" for each in found)


def test_a_competition_that_fails_is_kept_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import speeds
    from benchmarks.contest import Contender

    def broken() -> dict[str, Contender]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    work = Contender(work=lambda: None)
    both = [
        speeds.Competition(title="first", contenders=broken, rounds=1),
        speeds.Competition(title="second", contenders=lambda: {"limit": work}, rounds=1),
    ]
    monkeypatch.setattr(speeds, "competitions", lambda *_: both)
    speeds.main(["--device", "cpu"])
    printed = capsys.readouterr().out
    assert "FAILED   first: OutOfMemoryError: CUDA out of memory" in printed
    assert "second" in printed


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_records_on_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.speeds import main

    main(["--device", "cuda", *SMALL, "--precisions", "bf16"])
    printed = capsys.readouterr().out
    assert "AT, bf16, recorded" in printed
    assert "FAILED" not in printed


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
