"""The run store: whole files, damaged files, failed cells, full disks."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sample_rows import make_row, signed

from benchbench.errors import DataError, StorageError
from benchbench.records import RunStore
from benchbench.records.store import LEFT_OUT

OUTCOMES = {
    "index": torch.arange(4),
    "correct": torch.tensor([True, False, True, True]),
    "lipschitz": [0.5, 1.5, 2.5, 0.1],
}


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, problems: list[str]) -> RunStore:
    return RunStore(tmp_path / "runs", on_problem=problems.append)


def test_cell_is_read_back_as_recorded(store: RunStore) -> None:
    witnesses = torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    recorded = store.write_cell(make_row(test_accuracy=0.75, extra={"a": 1.0}, flags=("x",)), OUTCOMES, witnesses)
    assert store.read_cell(recorded.cell_id) == recorded
    outcomes = store.read_outcomes(recorded.outcomes_digest)
    assert outcomes is not None
    assert outcomes["correct"].tolist() == [True, False, True, True]
    assert {name: array.dtype.str for name, array in outcomes.items()} == {
        "index": "<i8",
        "correct": "|b1",
        "lipschitz": "<f8",
    }
    found = store.read_witnesses(recorded.witnesses_digest)
    assert found is not None
    assert np.array_equal(found.view(np.int32), witnesses.numpy().view(np.int32))


def test_what_is_missing_reads_as_none(store: RunStore) -> None:
    assert store.read_cell("00") is None
    assert store.read_outcomes("0" * 64) is None
    assert store.read_witnesses("0" * 64) is None
    assert store.rows("closer-look") == []
    assert store.finished_row("00") is None


def test_failed_cell_is_recorded_but_not_done(store: RunStore) -> None:
    row = make_row(status="failed", error="out of memory")
    store.write_cell(row)
    assert store.read_cell(row.cell_id) == row
    assert store.finished_row(row.cell_id) is None
    assert store.rows("closer-look") == [row]


def test_success_replaces_an_earlier_failure(store: RunStore) -> None:
    store.write_cell(make_row(status="failed", error="out of memory"))
    store.write_cell(make_row())
    assert store.finished_row(make_row().cell_id) is not None
    assert store.record_names() == [f"{make_row().cell_id}.json"]


def test_failure_does_not_replace_an_earlier_success(store: RunStore) -> None:
    store.write_cell(make_row(test_accuracy=0.5))
    store.write_cell(make_row(status="failed", error="out of memory"))
    assert store.rows("closer-look") == [make_row(test_accuracy=0.5)]


def test_rows_are_those_of_the_suite_in_order_of_cells(store: RunStore) -> None:
    for cell_id, suite in (("bb", "closer-look"), ("aa", "closer-look"), ("cc", "another")):
        store.write_cell(make_row(cell_id=cell_id, suite=suite))
    assert [row.cell_id for row in store.rows("closer-look")] == ["aa", "bb"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied", "foreign", "renamed"])
def test_damaged_record_is_set_aside_and_reported(store: RunStore, problems: list[str], damage: str) -> None:
    row = store.write_cell(make_row(test_accuracy=0.5))
    path = store.root / "cells" / f"{row.cell_id}.json"
    content = path.read_bytes()
    place = content.index(b"0.5")
    damaged = {
        "truncated": content[:-20],
        "flipped": content[:place] + b"9.5" + content[place + 3 :],
        "emptied": b"",
        "foreign": b"[" * 5000,
        "renamed": content.replace(b'"cnn2"', b'"cnn1"'),
    }[damage]
    path.write_bytes(damaged)
    assert store.read_cell(row.cell_id) is None
    assert store.finished_row(row.cell_id) is None
    assert path.with_name(f"{path.name}.corrupt").read_bytes() == damaged
    assert len(problems) == 1
    assert path.name in problems[0]


def test_record_under_another_name_is_set_aside(store: RunStore, problems: list[str]) -> None:
    row = store.write_cell(make_row())
    (store.root / "cells" / f"{row.cell_id}.json").rename(store.root / "cells" / "other.json")
    assert store.rows("closer-look") == []
    assert len(problems) == 1


def test_bit_flip_anywhere_in_outcomes_is_noticed(store: RunStore, problems: list[str]) -> None:
    row = store.write_cell(make_row(), OUTCOMES)
    path = store.outcomes_path(row.outcomes_digest)
    content = path.read_bytes()
    expected = store.read_outcomes(row.outcomes_digest)
    assert expected is not None
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        found = store.read_outcomes(row.outcomes_digest)
        if found is not None:  # a flip in bytes that carry no values is no damage
            assert {name: array.tolist() for name, array in found.items()} == {
                name: array.tolist() for name, array in expected.items()
            }
    assert len(problems) > 10
    assert path.with_name(f"{path.name}.corrupt").exists()


def test_cell_whose_outcomes_vanished_is_not_done(store: RunStore) -> None:
    row = store.write_cell(make_row(), OUTCOMES)
    assert store.finished_row(row.cell_id) is not None
    store.outcomes_path(row.outcomes_digest).unlink()
    assert store.finished_row(row.cell_id) is None


@pytest.mark.parametrize("damage", ["gone", "truncated"])
def test_cell_whose_witnesses_are_gone_or_truncated_is_not_done(store: RunStore, damage: str) -> None:
    row = store.write_cell(make_row(), OUTCOMES, torch.zeros(4, 1, 5, 5))
    assert store.finished_row(row.cell_id) is not None
    path = store.root / "witnesses" / f"{row.witnesses_digest}.parquet"
    content = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[:-7])
    assert store.finished_row(row.cell_id) is None


def test_cell_whose_witnesses_were_left_where_they_were_found_is_done(store: RunStore) -> None:
    row = store.write_cell(make_row(), OUTCOMES, torch.zeros(4, 1, 5, 5))
    path = store.root / "witnesses" / f"{row.witnesses_digest}.parquet"
    path.with_suffix(LEFT_OUT).touch()
    path.unlink()
    assert store.finished_row(row.cell_id) is not None
    assert store.read_witnesses(row.witnesses_digest) is None


def test_equal_outcomes_have_equal_digests_in_any_order(store: RunStore) -> None:
    first = store.write_cell(make_row(cell_id="aa"), OUTCOMES)
    second = store.write_cell(make_row(cell_id="bb"), dict(reversed(OUTCOMES.items())))
    changed = store.write_cell(make_row(cell_id="cc"), {**OUTCOMES, "lipschitz": [0.5, 1.5, 2.5, 0.2]})
    assert first.outcomes_digest == second.outcomes_digest != changed.outcomes_digest


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [({"a": [1, 2], "b": [1]}, "length"), ({"a": ["x"]}, "'a'"), ({"a": [None]}, "'a'")],
)
def test_malformed_outcomes_are_refused_and_nothing_is_recorded(
    store: RunStore, outcomes: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        store.write_cell(make_row(), outcomes)
    assert store.record_names() == []


def test_kill_between_write_and_rename_leaves_the_earlier_record(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_cell(make_row(test_accuracy=0.5))

    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        store.write_cell(make_row(test_accuracy=0.9))
    monkeypatch.undo()
    assert store.rows("closer-look") == [make_row(test_accuracy=0.5)]


def test_full_disk_is_named_and_leaves_the_earlier_record(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write_cell(make_row(test_accuracy=0.5))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"0123456789abcdef\.json.*no space"):
        store.write_cell(make_row(test_accuracy=0.9))
    monkeypatch.undo()
    assert store.rows("closer-look") == [make_row(test_accuracy=0.5)]
    assert [path.name for path in (store.root / "cells").iterdir()] == ["0123456789abcdef.json"]


def test_root_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(StorageError, match="runs"):
        RunStore(tmp_path / "runs").write_cell(make_row())


def test_what_killed_writers_left_is_removed_after_a_day(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "outcomes"
    folder.mkdir(parents=True)
    for name, age in ((".old.parquet.1.tmp", 2 * 86400), (".new.parquet.1.tmp", 60)):
        (folder / name).write_bytes(b"half")
        stamp = (folder / name).stat().st_mtime - age
        os.utime(folder / name, (stamp, stamp))
    RunStore(tmp_path / "runs")
    assert [path.name for path in folder.iterdir()] == [".new.parquet.1.tmp"]


def test_record_of_a_newer_version_stays_as_it_is(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    row = store.write_cell(make_row())
    path = tmp_path / "cells" / f"{row.cell_id}.json"
    path.write_bytes(signed({**json.loads(path.read_text())["row"], "a_later_column": 1}))
    before = path.read_bytes()
    with pytest.raises(StorageError, match=r"a newer version of benchbench recorded cell .* a_later_column"):
        store.read_cell(row.cell_id)
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.corrupt"))
