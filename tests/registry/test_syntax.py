"""The digest of a module: what changes numbers changes it, comments, docstrings and layout do not."""

from __future__ import annotations

import pytest

from benchbench.registry.sources import syntax_digest

SOURCE = b'''"""What it is."""
from torch import nn

__version__ = "1.0"
STEP = 0.25


class Method:
    """A method."""

    strength: float = 2.0
    """How strong."""

    def loss(self, x, *, beta=1.0):
        """The loss."""
        y = x * beta
        return -y + 3 if y > 0 else {"a": [1, None], **{}}  # signed
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"# signed", b"# unsigned"),
        (b'    """The loss."""', b"    '''Another text.'''"),
        (b'"""What it is."""\n', b""),
        (b'    """How strong."""\n', b""),
        (b"x * beta", b"(x*beta)"),
        (b"0.25", b".250"),
        (b'"1.0"', b'"2.0"'),
        (
            b'__version__ = "1.0"',
            b'__version__ = version = "3"\n__version_tuple__ = (3, 1)\n__commit_id__: str = "abc"',
        ),
        (b"\n", b"\r\n"),
        (b'"a"', b"u'a'"),
    ],
)
def test_what_changes_no_number_changes_no_digest(old: bytes, new: bytes) -> None:
    assert old in SOURCE
    assert syntax_digest(SOURCE.replace(old, new)) == syntax_digest(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"0.25", b"0.2"),
        (b"STEP", b"STEPS"),
        (b"x * beta", b"x + beta"),
        (b"-y", b"+y"),
        (b"y > 0", b"y >= 0"),
        (b"1, None", b"1"),
        (b"beta=1.0", b"beta=1"),
        (b"beta=1.0", b"beta"),
        (b"strength: float", b"strength: int"),
        (b'__version__ = "1.0"', b'version = "1.0"'),
        (b'__version__ = "1.0"', b"__version__ = read()"),
        (b"from torch import nn", b"from torch import nn as m"),
        (b'"a"', b'b"a"'),
        (b"[1, None]", b"[[1], None]"),
    ],
)
def test_what_may_change_numbers_changes_the_digest(old: bytes, new: bytes) -> None:
    assert old in SOURCE
    assert syntax_digest(SOURCE.replace(old, new)) != syntax_digest(SOURCE)


def test_digest_is_the_same_under_every_python() -> None:
    assert syntax_digest(SOURCE).hex()[:16] == "36292d2bb5613aa1"


@pytest.mark.parametrize("source", [b"def broken(:", b"a\0b", b"x = " + b"-" * 5000 + b"1", b"\xff\xfe"])
def test_what_cannot_be_parsed_counts_by_its_bytes(source: bytes) -> None:
    assert syntax_digest(source) == syntax_digest(source) != syntax_digest(source + b" ")


def test_invalid_escape_warns_nobody_and_a_long_integer_is_read() -> None:
    assert syntax_digest(b"x = '\\d'") != syntax_digest(b"x = '\\w'")
    assert syntax_digest(b"x = 0x" + b"f" * 9000) != syntax_digest(b"x = 0x" + b"e" * 9000)
