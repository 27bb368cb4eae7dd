"""Bounds what the pages of an untrusted Parquet file unpack to, before pyarrow unpacks any.

A footer may state wrong sizes, while pyarrow allocates what the header of each page states; and a few bits repeat a text of a
page's dictionary. So the headers are read here, in Thrift's compact protocol: structs by the numbers in parquet.thrift.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

import pyarrow as pa

MOST_FOOTER = 4 * 2**20  # bytes: 100 columns take 20 KiB, and as much again for each group of rows
MOST_PAGES = 100_000
ROWS_AT_ONCE = 10_000  # as many as a leaderboard's groups have
_Struct = dict[int, Any]  # values by their fields' numbers, unchecked
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8, 6: 4}  # bytes by physical type; of texts, those of their offsets
_TEXT = 6
_ENCODINGS = (0, 2, 3, 4, 8, 9)  # whose values take their size in the page, or are in the dictionary


class AbsurdSizeError(Exception):
    """A file would take more memory than its reader allows."""


def rows_at_once(content: bytes, limit: int) -> int:
    """How many rows to read at once; AbsurdSizeError beyond the limit, ValueError for damage."""
    length = int.from_bytes(content[-8:-4], "little")
    if MOST_FOOTER < length < len(content):
        raise AbsurdSizeError(f"a footer of {length:,} bytes, more than {MOST_FOOTER:,}")
    size = pages = longest_row = 0
    try:
        for group in _Thrift(content, len(content) - 8 - length).struct().get(4, ()):
            text = 0
            for chunk in (column[3] for column in group[1]):
                sizes, longest = _measure(content, chunk, limit)
                size, pages, text = size + sum(sizes), pages + len(sizes), text + longest
                if size > limit or pages > MOST_PAGES:
                    raise AbsurdSizeError(f"{size:,} bytes in its first {pages:,} pages")
            longest_row = max(longest_row, text)
    except (IndexError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("its footer or the header of a page is damaged") from error
    return max(1, min(ROWS_AT_ONCE, limit // max(longest_row, 1)))


def _measure(content: bytes, chunk: _Struct, limit: int) -> tuple[list[int], int]:
    """Return bounds of the bytes of a column chunk's values and pages, and of a text."""
    at, values, longest, sizes = min(chunk[9], chunk.get(11) or chunk[9]), 0, 0, [0]
    end = at + (chunk[7] if chunk[5] > 0 else 0)  # pages without values are not read
    while at < end and sizes[-1] <= limit and len(sizes) <= MOST_PAGES:
        header = _Thrift(content, at)
        page = header.struct()
        data, at = page.get(5) or page.get(8) or page.get(7) or {}, header.at + page[3]
        if min(page[2], page[3]) < 0 or data.get(4 if 8 in page else 2, 0) not in _ENCODINGS:
            raise ValueError("a page of another encoding")
        sizes.append(page[2])
        if 7 not in page:
            values += data.get(1, 0)
        elif chunk[1] not in _WIDTHS:
            longest = page[2]
        elif chunk[1] == _TEXT and page[2] <= limit:
            longest = _longest(content[header.at : at], page[2], chunk[4])
    sizes[0] = values * (_WIDTHS.get(chunk[1], 16) + (longest if len(chunk[3]) > 1 else 0))
    return sizes, longest


def _longest(packed: bytes, size: int, codec: int) -> int:
    """Return the length of the longest text in a dictionary."""
    plain = pa.decompress(packed, size, _CODECS[codec], asbytes=True) if codec else packed
    longest = at = 0
    while at + 4 <= len(plain):
        (length,) = _LENGTH(plain, at)
        if length > longest:
            longest = length
        at += 4 + length
    return longest


_LENGTH = Struct("<I").unpack_from


class _Thrift:
    def __init__(self, content: bytes, at: int) -> None:
        if at < 0:
            raise IndexError
        self.at = at
        self._content = content

    def struct(self) -> _Struct:
        """Read a struct, without its texts; IndexError beyond the end of the content."""
        fields: _Struct = {}
        number = 0
        while (head := self._byte()) & 15:
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._value(head & 15) if head & 15 > 2 else None
        return fields

    def _value(self, kind: int) -> object:
        if kind in (4, 5, 6):
            return self._integer()
        if kind in (9, 10):
            head = self._byte()
            return [self._value(head & 15) for _ in range(self._unsigned() if head >> 4 == 15 else head >> 4)]
        if kind == 12:
            return self.struct()
        skipped = self._unsigned() if kind == 8 else {1: 1, 2: 1, 3: 1, 7: 8}[kind]
        self.at += skipped
        return None

    def _byte(self) -> int:
        self.at += 1
        return self._content[self.at - 1]

    def _unsigned(self) -> int:
        value = shift = 0
        while (byte := self._byte()) > 127 and shift < 63:
            value, shift = value | (byte & 127) << shift, shift + 7
        return value | (byte & 127) << shift

    def _integer(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)
