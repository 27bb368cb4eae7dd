"""Find a suite's file, read it within bounds, and parse it; every mistake has its line."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from benchbench.errors import Problem, SuiteError
from benchbench.registry import Registry
from benchbench.suite.lines import DEEPEST

MAXIMUM_BYTES = 1 << 20
MAXIMUM_LINE = 10_000  # characters

# The parser takes quadratic time for a key of many parts; this finds one where a key may begin, and more seldom in a text.
_DEEP_KEY = re.compile(
    r"""(?:^|[\[{,])[ \t]*+(?:(?:[A-Za-z0-9_-]++|"(?:\\.|[^"\\\n])*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+)"""
    f"{{{DEEPEST}}}",
    re.MULTILINE,
)
_PARSER_LINE = re.compile(r"\(at line (\d+)")


def find_suite(name_or_path: str | os.PathLike[str], registry: Registry) -> Path:
    """The file of a suite, by path (with ``.toml`` or a separator in it) or by registered name."""
    text = os.fspath(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml") or any(sep in text for sep in ("/", os.sep)):
        return Path(text)
    return Path(registry.make("suite", registry.resolve("suite", text)))


def name_of(name_or_path: str | os.PathLike[str]) -> str:
    """The name of a suite, given by its name or by the path of its TOML file."""
    path = Path(name_or_path)
    stated = parse(read_text(path), path).get("name") if path.suffix == ".toml" else None
    return stated if isinstance(stated, str) else os.fspath(name_or_path)


def read_text(path: Path) -> str:
    """Read a suite's file: UTF-8, at most 1 MiB; otherwise raise `SuiteError`."""
    try:
        if not path.exists():
            raise _file_error(path, "there is no such file", "give the path of a TOML file, or the name of a suite")
        if not path.is_file():
            raise _file_error(path, "not a file", "give the path of a TOML file, or the name of a suite")
        with path.open("rb") as file:
            content = file.read(MAXIMUM_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise _file_error(path, f"cannot be read: {error}") from error
    if len(content) > MAXIMUM_BYTES:
        raise _file_error(path, f"larger than {MAXIMUM_BYTES} bytes", "a suite is a short text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _file_error(path, f"not UTF-8: byte {content[error.start]:#04x}", line=line) from error


def parse(text: str, path: Path) -> dict[str, object]:
    """Parse a suite's text; raise `SuiteError` with the line if it is not TOML."""
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > MAXIMUM_LINE:
            raise _file_error(path, f"a line of more than {MAXIMUM_LINE} characters", line=number)
    if found := _DEEP_KEY.search(text):
        number = text.count("\n", 0, found.end()) + 1
        raise _file_error(path, f"a key of more than {DEEPEST} parts", line=number)
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise _file_error(path, "nested too deeply") from error
    except ValueError as error:  # TOMLDecodeError is one, and so is a number of too many digits
        where = _PARSER_LINE.search(str(error))
        raise _file_error(path, f"not TOML: {error}", line=int(where.group(1)) if where else None) from error


def _file_error(path: Path, message: str, hint: str = "", *, line: int | None = None) -> SuiteError:
    return SuiteError(str(path), [Problem(location="file", message=message, hint=hint, line=line)])
