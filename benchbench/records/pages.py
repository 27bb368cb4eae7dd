"""Bounds what the pages of an untrusted Parquet file unpack to, before pyarrow unpacks any.

The footer may state wrong sizes, while pyarrow allocates what the header of each page states; and a few bits repeat a text of a
page's dictionary. So the headers are read here, in Thrift's compact protocol.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

MOST_FOOTER = 4 * 2**20  # bytes: 100 columns take 20 KiB, and as much again for each group of rows
MOST_PAGES = 100_000
ROWS_AT_ONCE = 1024

_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8, 6: 4}  # bytes by physical type; of texts, those of their offsets
_TEXT = 6
_ENCODINGS = (0, 2, 3, 4, 8, 9)  # whose values take their size in the page, or are in the dictionary
_Fields = dict[int, Any]  # of a struct, by their numbers in parquet.thrift


class AbsurdSizeError(Exception):
    """A file would take more memory than its reader allows."""


def rows_at_once(content: bytes, limit: int) -> int:
    """Return how many rows of a file may be read at once, at most `ROWS_AT_ONCE`.

    Raises:
        AbsurdSizeError: the pages unpack to more than `limit` bytes, or are too many, or the footer is too large.
        ValueError: a header is damaged, or states an encoding that benchbench does not write.
    """
    length = int.from_bytes(content[-8:-4], "little")
    if MOST_FOOTER < length < len(content):
        raise AbsurdSizeError(f"a footer of {length:,} bytes, more than {MOST_FOOTER:,}")
    bounds = _Bounds(content, limit)
    try:
        footer = _Thrift(content, len(content) - 8 - length).struct()
        for group in footer.get(4, ()):
            for chunk in group[1]:
                bounds.add(chunk[3])
    except (IndexError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("its footer or the header of a page is damaged") from error
    return max(1, min(ROWS_AT_ONCE, limit // max(bounds.text, 1)))


class _Bounds:
    """Upper bounds of the sizes of the column chunks added so far."""

    def __init__(self, content: bytes, limit: int) -> None:
        self.text = 0  # bytes of a row's longest texts
        self._content = content
        self._limit = limit
        self._size = self._pages = 0

    def add(self, chunk: _Fields) -> None:
        """Add a column chunk; errors as of `rows_at_once`."""
        at = min(chunk[9], chunk.get(11) or chunk[9])
        end, values, longest = at + (chunk[7] if chunk[5] > 0 else 0), 0, 0  # pages without values are not read
        while at < end:
            header = _Thrift(self._content, at)
            page = header.struct()
            data = page.get(5) or page.get(8) or page.get(7) or {}
            self._pages += 1
            self._count(page[2])
            if page[3] < 0 or data.get(4 if 8 in page else 2, 0) not in _ENCODINGS:
                raise ValueError("a page of another encoding")
            at = header.at + page[3]
            if 7 in page:
                longest = max(longest, self._longest(self._content[header.at : at], page[2], chunk))
            else:
                values += data.get(1, 0)
        self._count(values * (_WIDTHS.get(chunk[1], 16) + (longest if len(chunk[3]) > 1 else 0)))
        self.text += longest

    def _count(self, size: int) -> None:
        self._size += size
        if size < 0:
            raise ValueError("a page of negative size")
        if self._size > self._limit or self._pages > MOST_PAGES:
            raise AbsurdSizeError(f"{self._size:,} bytes in its first {self._pages:,} pages")

    def _longest(self, packed: bytes, size: int, chunk: _Fields) -> int:
        """Return the length of the longest text in a dictionary, or a bound of it."""
        if chunk[1] != _TEXT:
            return 0 if chunk[1] in _WIDTHS else size
        plain = pa.decompress(packed, size, _CODECS[chunk[4]], asbytes=True) if chunk[4] else packed
        longest = at = 0
        while at < len(plain):
            length = int.from_bytes(plain[at : at + 4], "little")
            longest, at = max(longest, length), at + 4 + length
        return longest


class _Thrift:
    """Reads structs in Thrift's compact protocol; texts are skipped."""

    def __init__(self, content: bytes, at: int) -> None:
        if at < 0:
            raise IndexError
        self.at = at
        self._content = content

    def struct(self) -> _Fields:
        """Read a struct; IndexError beyond the end of the content."""
        fields: _Fields = {}
        number = 0
        while (head := self._byte()) & 15:
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._value(head & 15) if head & 15 > 2 else None
        return fields

    def _value(self, kind: int) -> Any:
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
