"""Plain words: docstrings, comments and messages avoid the patterns that made readers read a sentence twice.

``python tests/test_plain_words.py`` prints every finding.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST_FIRST_LINE = 90

# pattern -> what to write instead
PATTERNS = {
    r"\btold\b": "is passed, receives, is shown, is logged",
    r"\basked for\b": "requested, given, chosen; or name who needs it",
    r"\bwhat there is\b": "name the things",
    r"\bof (?:its|their) own\b": "its own ..., separate",
    r"\b(?:is|are) at it\b": "name the work",
    r"\b(?:goes|go) with it\b": "belongs to it, is deleted with it",
    r"\bso (?:many|much)\b": "this many, as many as; give the number or its name",
    r"\bwhatever\b": "any, every; name the cases",
    r"\bof its accord\b": "by default",
    r"\bdoes about it\b": "handles it",
}
# a sentence that begins with its verb: "Refused are ...", "Not covered are ...", "Left out are ..."
INVERSION = re.compile(
    r"(?:^|[.:;] )(?:Not |Also |Only )?(?!Seed|Speed|Need)(?:[A-Z]\w+ed|Left out|Given|Known|Shown|Kept|Said|Held|Meant) "
    r"(?:is|are|was|were) ",
    re.MULTILINE,
)
NAMES = {"told", "asked"}  # identifiers that say how a value came, not what it is

# file -> phrases that are right there
EXCEPTIONS: dict[str, tuple[str, ...]] = {}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One place to rewrite."""

    file: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.problem}"


def sources() -> list[Path]:
    """Every Python file of the package, the plugins and the benchmarks."""
    return sorted(path for folder in ("benchbench", "plugins", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


def find_in(file: str, source: str) -> Iterator[Finding]:
    """The findings in one file, without its exceptions."""
    for line, text, is_docstring in texts(source):
        for problem in problems_of(text, is_docstring=is_docstring):
            if not any(phrase in problem for phrase in EXCEPTIONS.get(file, ())):
                yield Finding(file=file, line=line, problem=problem)
    for line, name in identifiers(ast.parse(source)):
        if name in NAMES:
            yield Finding(file=file, line=line, problem=f"the name {name!r}: name what it holds")


def problems_of(text: str, *, is_docstring: bool) -> Iterator[str]:
    """What is wrong with a docstring, a comment or a message."""
    for pattern, remedy in PATTERNS.items():
        for found in re.finditer(pattern, text, re.IGNORECASE):
            yield f"{found.group()!r}: {remedy}"
    for found in INVERSION.finditer(text):
        yield f"{found.group().strip(' .:;')!r}: begin with the subject"
    first = text.strip().partition("\n")[0]
    if is_docstring and len(first) > LONGEST_FIRST_LINE:
        yield f"the first line has {len(first)} characters, at most {LONGEST_FIRST_LINE}: {first[:40]}..."


def texts(source: str) -> Iterator[tuple[int, str, bool]]:
    """Line, text and whether it is a docstring, of every docstring, comment and string with a space in it."""
    tree = ast.parse(source)
    docstrings = {id(node) for node in docstring_nodes(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, unindented(node.value), id(node) in docstrings
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# "), False


def docstring_nodes(tree: ast.Module) -> Iterator[ast.Constant]:
    """Texts that stand alone: docstrings, and those below a constant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value


def unindented(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


def identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of every variable that is assigned, and of every parameter."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


def all_findings() -> list[Finding]:
    """Every finding, by file."""
    files = [(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in sources()]
    return [finding for file, source in files for finding in find_in(file, source)]


def test_every_text_is_plain() -> None:
    assert [str(finding) for finding in all_findings()] == []


@pytest.mark.parametrize(
    "text",
    [
        "on_problem: is told of damaged files",
        "The device asked for.",
        "rows of their own",
        "Refused are files that are too large.",
        "Read a file. Left out are empty lines.",
        "the work goes with it",
        "as many workers as there are cores, so many may take part",
    ],
)
def test_riddle_is_found(text: str) -> None:
    assert list(problems_of(text, is_docstring=False))


@pytest.mark.parametrize(
    "text",
    ["Return the device that the user chose.", "Seed is fixed. Speed is measured.", "It is refused: files are large."],
)
def test_plain_sentence_passes(text: str) -> None:
    assert list(problems_of(text, is_docstring=True)) == []


def test_long_first_line_is_found_in_docstrings_only() -> None:
    line = "x" * (LONGEST_FIRST_LINE + 1)
    assert list(problems_of(line, is_docstring=True))
    assert not list(problems_of(line, is_docstring=False))


def test_texts_are_read_from_docstrings_comments_messages_and_names() -> None:
    source = (
        '"""Is told."""\n\n\ndef f(asked):\n    # it was asked for\n    raise ValueError(f"{asked}: whatever it is")\n'
    )
    assert [(finding.line, finding.problem.partition(":")[0]) for finding in find_in("f.py", source)] == [
        (1, "'told'"),
        (6, "'whatever'"),
        (5, "'asked for'"),
        (4, "the name 'asked'"),
    ]


if __name__ == "__main__":
    print(*all_findings(), sep="\n")
