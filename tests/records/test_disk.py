"""Files that several processes read, and set aside when they are damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchbench.records.disk import read_ahead, set_aside


def test_two_processes_may_set_aside_one_file(tmp_path: Path) -> None:
    damaged = tmp_path / "part.safetensors"
    damaged.write_bytes(b"\0")
    first = set_aside(damaged)
    assert set_aside(damaged) == first
    assert first.read_bytes() == b"\0"


def test_one_item_is_read_ahead_and_no_more() -> None:
    asked = list[int]()

    def items() -> Iterator[int]:
        for item in range(5):
            asked.append(item)
            yield item

    taken = read_ahead(lambda item: item * item, items())
    assert next(taken) == (0, 0)
    assert asked == [0, 1]
    assert list(taken) == [(1, 1), (2, 4), (3, 9), (4, 16)]
    assert list(read_ahead(str, [])) == []
