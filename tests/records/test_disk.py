"""Files that several processes read, and set aside when they are damaged."""

from __future__ import annotations

from pathlib import Path

from benchbench.records.disk import set_aside


def test_two_processes_may_set_aside_one_file(tmp_path: Path) -> None:
    damaged = tmp_path / "part.safetensors"
    damaged.write_bytes(b"\0")
    first = set_aside(damaged)
    assert set_aside(damaged) == first
    assert first.read_bytes() == b"\0"
