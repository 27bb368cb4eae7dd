"""The one command for a GPU machine, on a CPU: its steps, its time, and what it brings back."""

from __future__ import annotations

import dataclasses
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import benchbench
from benchbench.events import CellStarted, Event, TrainingProgress, TrainingStarted
from benchbench.records import RunStore
from benchbench.stopping import StopRequest
from benchbench.training.checkpoint import read_checkpoint
from benchmarks import device, equality, packs, sessions
from benchmarks.archives import Item, Limits, arrange, unpack, write
from benchmarks.ledger import GRAPHS, Ledger, read_ledger
from benchmarks.sessions import Session, Step

SMOKE = ["--suite", "smoke", "--profile", "quick"]


def session(folder: Path, seconds: float) -> Session:
    begun = Session(out=folder / "out", work=folder / "work", seconds=seconds, wheels=folder / "wheels")
    begun.begin("a session")
    return begun


def python(name: str, code: str, share: float = 1.0, *, last: bool = False) -> Step:
    return Step(name=name, share=share, arguments=("-c", code), last=last)


@pytest.mark.slow
@pytest.mark.exhaustive  # the whole flow takes half a minute
def test_the_whole_flow_leaves_a_report_figures_and_archives(tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    places = ["--out", str(out), "--work", str(work)]
    skipped = ["--skip", "checks", "speeds", "sharing"]
    sizes = ["--only", "dataset=digits", "defense=natural", "--minutes", "12"]
    assert device.main([*places, "--device", "cpu", *SMOKE, *sizes, *skipped]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        *("figures.json", "models-1.zip", "report.txt", "rows-1.zip", "witnesses-1.zip")
    ]
    figures = json.loads((out / "figures.json").read_text())
    assert [(step["name"], step["status"]) for step in figures["steps"]] == [
        (name, "ok") for name in ("machine", "unpack", "rows", "pack")
    ]
    facts = {each["name"] for each in figures["findings"] if each["kind"] == "fact"}
    assert {"device", "CUDA", "processor", "versions", "commit"} <= facts
    assert "Natural" in (out / "report.txt").read_text()
    assert len(unpack([out], tmp_path / "home")) == 6  # board, record, outcomes, witnesses and their mark, model
    (row,) = RunStore(tmp_path / "home").rows()
    assert row.status == "ok"


def smoke_run(runs: Path, *, interrupted: bool = False) -> list[Event]:
    """Run the smoke suite, if need be until the second of its models has trained an epoch; returns what happened."""
    events: list[Event] = []
    stop = StopRequest()

    def listen(event: Event) -> None:
        events.append(event)
        models = sum(isinstance(each, TrainingStarted) for each in events)
        if interrupted and models == 2 and isinstance(event, TrainingProgress) and event.step == event.steps:
            stop.request("enough")

    boards = runs / "boards"
    benchbench.run(
        "smoke", profile="quick", device="cpu", runs=runs, leaderboards=boards, listener=listen, stop=stop, jobs=1
    )
    return events


def packed(runs: Path, out: Path, *limits: str) -> Path:
    packs.main(["--runs", str(runs), "--leaderboards", str(runs / "boards"), "--out", str(out), *limits])
    return out


def models(folder: Path, kind: str) -> list[str]:
    with zipfile.ZipFile(folder / f"{kind}-1.zip") as archive:
        return [name for name in archive.namelist() if name.startswith("models/")]


@pytest.mark.exhaustive
def test_a_later_call_goes_on_from_what_an_earlier_one_brought_back(tmp_path: Path) -> None:
    first, second, whole = tmp_path / "first", tmp_path / "second", tmp_path / "whole"
    smoke_run(first, interrupted=True)
    out = packed(first, tmp_path / "out")
    (finished,), (unfinished,) = models(out, "models"), models(out, "unfinished")
    assert finished != unfinished
    unpack([out], second)
    going_on = read_checkpoint(second / unfinished)
    assert going_on is not None
    assert (going_on.position.epoch, going_on.intact) == (1, True)

    events = smoke_run(second)
    assert [event.number for event in events if isinstance(event, CellStarted)] == [1]
    assert [event.epoch for event in events if isinstance(event, TrainingStarted)] == [1]
    smoke_run(whole)
    times = dict.fromkeys(("train_seconds", "evaluate_seconds", "peak_memory_bytes"))
    rows, expected = RunStore(second).rows(), RunStore(whole).rows()
    assert [dataclasses.replace(row, **times) for row in rows] == [
        dataclasses.replace(row, **times) for row in expected
    ]


def test_a_finished_model_comes_back_without_momentum_and_an_unfinished_one_with_it(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    smoke_run(runs, interrupted=True)
    out = packed(runs, tmp_path / "out")
    unpack([out], tmp_path / "home")
    for kind, state in (("models", False), ("unfinished", True)):
        (name,) = models(out, kind)
        stored, before = read_checkpoint(tmp_path / "home" / name), read_checkpoint(runs / name)
        assert stored is not None
        assert before is not None
        assert stored.intact
        assert all(torch.equal(stored.state[key], before.state[key]) for key in before.state)
        assert b"optimizer." in (runs / name).read_bytes()[:10_000]
        assert (b"optimizer." in (tmp_path / "home" / name).read_bytes()[:10_000]) is state


def test_cells_whose_witnesses_do_not_fit_are_not_computed_again(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    smoke_run(first)
    out = packed(first, tmp_path / "out", "--files", "2", "--ledger", str(tmp_path / "ledger"))
    assert sorted(path.name for path in out.iterdir()) == ["models-1.zip", "rows-1.zip"]
    left = [each for each in read_ledger(tmp_path / "ledger") if each["kind"] == "left out"]
    assert {each["of"] for each in left} == {"witnesses"}
    unpack([out], second)
    assert not any(isinstance(event, CellStarted) for event in smoke_run(second))


@pytest.fixture
def item(tmp_path: Path) -> Callable[[str, int], Item]:
    def make(kind: str, size: int) -> Item:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.parquet"
        path.write_bytes(b"\0" * size)
        return Item(kind=kind, name=f"outcomes/{path.name}", path=path)

    return make


def test_archives_keep_their_limits_and_what_comes_last_is_left_out(
    tmp_path: Path, item: Callable[[str, int], Item]
) -> None:
    items = [item("rows", 600), item("rows", 600), item("models", 100), item("models", 2000), item("unfinished", 300)]
    archives, left = arrange(items, Limits(files=3, file_bytes=1000, total_bytes=5000))
    assert [(archive.name, archive.items) for archive in archives] == [
        ("rows-1.zip", items[:1]),
        ("rows-2.zip", items[1:2]),
        ("models-1.zip", items[2:3]),
    ]
    assert left == items[3:]  # larger than a file may be; no file left for another kind
    out = tmp_path / "out"
    out.mkdir()
    (out / "witnesses-9.zip").touch()  # of an earlier call
    write(archives, out)
    sizes = {path.name: path.stat().st_size for path in out.iterdir()}
    assert sizes == {archive.name: archive.size for archive in archives}
    assert max(sizes.values()) <= 1000


def test_all_archives_together_keep_the_limit(item: Callable[[str, int], Item]) -> None:
    items = [item("rows", 600), item("models", 600), item("models", 50)]
    archives, left = arrange(items, Limits(files=6, file_bytes=1000, total_bytes=1000))
    assert [archive.items for archive in archives] == [items[:1], items[2:]]
    assert left == items[1:2]


def test_of_a_file_in_several_archives_the_newest_counts_and_no_name_leads_elsewhere(tmp_path: Path) -> None:
    for number, folder in enumerate(("new", "old")):
        (tmp_path / folder).mkdir()
        with zipfile.ZipFile(tmp_path / folder / "rows-1.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo("cells/a.json", (2025, 12 - number, 1, 0, 0, 0)), folder)
            archive.writestr(zipfile.ZipInfo("../outside.parquet"), folder)
    runs = tmp_path / "runs"
    for folders in ([tmp_path / "new", tmp_path / "old"], [tmp_path / "old", tmp_path / "new"]):
        unpack(folders, runs)
        assert [path.name for path in runs.rglob("*") if path.is_file()] == ["a.json"]
        assert (runs / "cells" / "a.json").read_text() == "new"
    (runs / "cells" / "a.json").write_text("computed since")
    unpack([tmp_path / "new"], runs)
    assert (runs / "cells" / "a.json").read_text() == "computed since"


def test_a_step_that_hangs_or_fails_is_written_down_and_the_rest_is_done_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "STOPPING", 0.5)
    monkeypatch.setattr(sessions, "FEWEST", 0.5)
    began = time.monotonic()
    running = session(tmp_path, 6.0)
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('begun', flush=True); time.sleep(60)"
    )
    running.take(python("fails", "raise SystemExit(3)", 0.3))
    running.take(python("hangs", deaf))
    running.take(python("too late", "print('never')"))
    running.take(python("last", "print('packed')", last=True))
    assert time.monotonic() - began < 6.0
    assert [step["status"] for step in running.steps] == [
        "failed with status 3",
        "stopped at its limit",
        "skipped, no time is left",
        "ok",
    ]
    report = (tmp_path / "out" / "report.txt").read_text()
    assert "begun" in report
    assert "\npacked\n" in report
    assert "\nnever\n" not in report
    assert len(json.loads((tmp_path / "out" / "figures.json").read_text())["steps"]) == 4


def test_steps_import_what_a_folder_of_wheels_has(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels" / "carried-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried.py", "WORD = 'along'")
    running = session(tmp_path, 60.0)
    running.take(python("imports", "import carried, benchbench; print(carried.WORD)"))
    assert running.steps[0]["status"] == "ok"


@pytest.mark.parametrize(
    ("status", "distance", "used"),
    [("ok", 0.0, True), ("ok", 0.1, False), ("ok", None, False), ("stopped at its limit", 0.0, False)],
)
def test_rows_are_recorded_as_graphs_only_where_all_checks_of_them_agree(
    status: str, distance: float | None, used: bool, tmp_path: Path
) -> None:
    running = session(tmp_path, 60.0)
    running.steps.append({"name": "checks", "status": status})
    ledger = Ledger(path=running.ledger)
    ledger.check(f"{GRAPHS}AT: weights that differ", 0.0, most=0.0)
    if distance is None:
        ledger.fault(f"{GRAPHS}MT", RuntimeError("operation not permitted when stream is capturing"))
    else:
        ledger.check(f"{GRAPHS}MT: pixels that differ", distance, most=0.0)
    options = device.read_options(["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")])
    (rows,) = [step for step in device.computing(options, running) if step.name == "rows"]
    assert ("--cuda-graphs" in rows.arguments) is used


def test_a_defense_whose_gradient_differs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = equality.problem(equality.subject(), equality.GREY, 64, torch.device("cpu"))
    honest = equality.trained
    calls: list[object] = []

    def bent(*given: object, **options: object) -> object:
        calls.append(given)
        found = honest(*given, **options)  # type: ignore[arg-type]
        if len(calls) == 1:  # the device's
            found.model.dense3.weight.data += 0.01
        return found

    monkeypatch.setattr(equality, "trained", bent)
    equality.check_defense(Ledger(path=tmp_path / "ledger"), "natural", here, torch.device("cpu"))
    loss, gradient = read_ledger(tmp_path / "ledger")
    assert (loss["ok"], gradient["ok"]) == (True, False)


@pytest.mark.exhaustive
def test_a_cpu_computes_what_a_cpu_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    equality.main(["--device", "cpu", "--ledger", str(tmp_path / "ledger")])
    found = read_ledger(tmp_path / "ledger")
    checks = [each for each in found if each["kind"] == "check"]
    assert {each["name"].split(":")[0] for each in checks} >= {*equality.DEFENSES, *equality.ATTACKS, "Lipschitzness"}
    assert all(each["ok"] for each in checks)
    assert "DIFFERS" not in capsys.readouterr().out
    assert not [each for each in found if each["kind"] == "fault"]
