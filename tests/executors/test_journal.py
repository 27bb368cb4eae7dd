"""Journals survive killed writers and readers that come late."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchbench.errors import StorageError
from benchbench.events import CellFinished, CellStarted, EvaluationProgress, RunFinished
from benchbench.executors.journal import Hello, Journal, Journals, WorkerTrouble

STARTED = CellStarted(number=1, total=2, cell_id="a", label="digits mlp at", seconds_left=None)
FINISHED = CellFinished(cell_id="a", label="digits mlp at", seconds=1.5, values={"test_accuracy": 0.5})


def test_what_is_written_is_read_once(tmp_path: Path) -> None:
    entries = [
        Hello(host="n1", pid=7, device="cpu", clock_ahead=0.0),
        STARTED,
        FINISHED,
        WorkerTrouble(message="m", hint="h"),
    ]
    journals, journal = Journals(tmp_path / "j"), Journal(tmp_path / "j", "one")
    for entry in entries:
        journal.write(entry)
    assert [*journals.news()] == [("one", entry) for entry in entries]
    assert [*journals.news()] == []
    journal.write(STARTED)
    assert [*journals.news()] == [("one", STARTED)]


def test_events_of_the_whole_run_and_frequent_progress_are_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "one")
    for done in range(100):
        journal.write(EvaluationProgress(purpose="accuracy", done=done, total=100))
    journal.write(RunFinished(finished=1, failed=0, cached=0, skipped=0, seconds=1.0))
    assert len([*Journals(tmp_path).news()]) == 1


def test_line_of_a_killed_writer_does_not_spoil_those_of_its_successor(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "one")
    journal.write(STARTED)
    with (tmp_path / "one.jsonl").open("ab") as file:
        file.write(b'{"kind": "CellFin')
    journals = Journals(tmp_path)
    assert [entry for _, entry in journals.news()] == [STARTED]
    Journal(tmp_path, "one").write(FINISHED)
    assert [entry for _, entry in journals.news()] == [FINISHED]


@pytest.mark.parametrize(
    "line", [b"", b"null", b"[]", b'{"kind": "System"}', b'{"kind": "Note"}', b'{"kind": "Note", "x": 1}', b"\xff"]
)
def test_lines_that_make_no_sense_are_passed_over(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "one.jsonl").write_bytes(line + b"\n")
    assert [*Journals(tmp_path).news()] == []


def test_reader_can_begin_at_the_end(tmp_path: Path) -> None:
    Journal(tmp_path, "one").write(STARTED)
    journals = Journals(tmp_path, from_the_end=True)
    Journal(tmp_path, "two").write(FINISHED)
    assert [*journals.news()] == [("two", FINISHED)]


def test_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="a part of the path is a file"):
        Journal(tmp_path / "file" / "j", "one")
