"""Decisions read off a string of bytes, so that hypothesis, atheris and a stored file can all steer the same mutations."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
NUMBERS: tuple[int | float, ...] = (
    0,
    1,
    -1,
    2,
    7,
    255,
    2**31,
    2**53,
    2**63 - 1,
    -(2**63),
    10**30,
    0.0,
    -0.0,
    0.5,
    1e-300,
    1e300,
    float("inf"),
    float("-inf"),
    float("nan"),
)
TEXTS = (
    "",
    "a",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "{}",
    '{"beta": 3}',
    '{"beta": [null, NaN, {"x": 1e400}]}',
    "[" * 3000,
    "\x00",
    "\x1b[2J",
    "é\u202e\U0001f600",
    "x" * 5000,
    "measured",
    "published",
    "nan",
    "0" * 64,
)


class Draws:
    """Reads numbers, choices and values off bytes; once they are used up, everything is the first choice."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def bytes(self, count: int) -> bytes:
        """The next bytes, zeros beyond the end."""
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken.ljust(count, b"\0")

    def below(self, limit: int) -> int:
        """A number in [0, limit)."""
        size = 1 if limit <= 256 else 4
        return int.from_bytes(self.bytes(size), "little") % max(limit, 1)

    def choice(self, items: Sequence[Item]) -> Item:
        """One of several."""
        return items[self.below(len(items))]

    def text(self, words: Sequence[str] = TEXTS) -> str:
        """A word, or a few characters of any kind."""
        if self.below(3):
            return self.choice(words)
        return self.bytes(self.below(12)).decode("utf-8", errors="replace")

    def value(self, words: Sequence[str] = TEXTS, depth: int = 2) -> Any:
        """Anything that JSON or TOML can hold."""
        kind = self.below(7 if depth else 5)
        if kind == 0:
            return self.text(words)
        if kind == 1:
            return self.choice(NUMBERS)
        if kind == 2:
            return struct.unpack("<q", self.bytes(8))[0] >> self.below(64)
        if kind == 3:
            return struct.unpack("<d", self.bytes(8))[0]
        if kind == 4:
            return bool(self.below(2))
        items = [self.value(words, depth - 1) for _ in range(self.below(4))]
        return items if kind == 5 else {self.text(words): item for item in items}


def splice(original: bytes, draws: Draws, pieces: Sequence[bytes] = (), most: int = 6) -> bytes:
    """Some bytes with a few changes: flipped bits, pieces cut out, doubled, put in or cut off at the end."""
    content = bytearray(original)
    for _ in range(1 + draws.below(most)):
        start, length = draws.below(len(content) + 1), draws.below(64)
        kind = draws.below(6)
        if kind == 0 and content:
            content[start % len(content)] ^= 1 << draws.below(8)
        elif kind == 1:
            del content[start : start + length]
        elif kind == 2:
            content[start:start] = content[start : start + length]
        elif kind == 3:
            content[start:start] = draws.choice(pieces) if pieces else draws.bytes(length)
        elif kind == 4:
            content[start : start + length] = draws.bytes(length)
        else:
            del content[start:]
        if not draws:
            break
    return bytes(content)
