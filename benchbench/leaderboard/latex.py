"""Tables as LaTeX: a floating booktabs table for each part of a group that fits a page."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal

from benchbench.leaderboard.layout import Column, Group, Line, Table

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "±": r"\textpm{}",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "[": "{[}",  # after a line's \\ a plain bracket would be taken for an optional argument
    "]": "{]}",
}
_UNKNOWN = "?"  # for characters that pdfLaTeX's standard fonts lack: it would stop there
_PRINTED = frozenset(map(chr, (*range(0x20, 0x7F), *range(0xC0, 0x100)))) - frozenset("×÷ÐðÞþ")
_WIDEST = 20  # characters on a line of a column of text
_LONGEST = 44  # lines of text in a table on one page
_PREAMBLE = r"""% Needs \usepackage{booktabs}. With \usepackage{graphicx}, too, tables wider than the text shrink to its width.
\providecommand{\benchbenchfit}[1]{\ifdefined\resizebox
  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{#1}\else#1\fi}"""
_DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{booktabs}
\usepackage{graphicx}
\begin{document}
%s
\end{document}"""


def latex_fragment(table: Table) -> str:
    """Floating tables for a document that loads booktabs, and the notes after the last one."""
    notes = [rf"\par\noindent{{\footnotesize {escape_latex(note)}\par}}" for note in table.notes]
    floats = [_float(table, part) for group in table.groups for part in _parts(table.columns, group)]
    return "\n".join([_PREAMBLE, *floats, *notes])


def latex_document(tables: Sequence[Table]) -> str:
    """All tables as a document that compiles by itself."""
    return _DOCUMENT % "\n\n".join(latex_fragment(table) for table in tables)


def escape_latex(text: str) -> str:
    """Text escaped for LaTeX; characters that its fonts lack become question marks."""
    return "".join(_ESCAPED.get(one) or (one if one in _PRINTED else _UNKNOWN) for one in text)


def _parts(columns: Sequence[Column], group: Group) -> Iterator[Group]:
    """The group in parts that each fit a page."""
    lines: list[Line] = []
    label, height = group.label, 0
    for line in group.lines:
        height += max(len(_rows(column.align, entry.text)) for column, entry in zip(columns, line.entries))
        if lines and height > _LONGEST:
            yield dataclasses.replace(group, label=label, lines=tuple(lines))
            label, lines, height = f"{group.label}, continued", [], 0
        lines.append(line)
    yield dataclasses.replace(group, label=label, lines=tuple(lines))


def _float(table: Table, group: Group) -> str:
    headings = " & ".join(map(_heading, table.columns))
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}\setlength{\belowcaptionskip}{4pt}",
            rf"\caption{{{escape_latex(f'{table.title}. {group.label}')}}}",
            rf"\benchbenchfit{{\begin{{tabular}}{{{''.join(column.align[0] for column in table.columns)}}}",
            r"\toprule",
            rf"{headings} \\",
            r"\midrule",
            *(" & ".join(_line(table.columns, line)) + r" \\" for line in group.lines),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
    )


def _heading(column: Column) -> str:
    """One word a line, the unit beside the last one."""
    words = column.label.split()
    words[-1] += f" ({column.unit})" if column.unit else ""
    return _stacked([escape_latex(word) for word in words], column.align, "b")


def _line(columns: Sequence[Column], line: Line) -> Iterator[str]:
    entries = zip(columns, line.entries)
    return (_entry(column.align, entry.text, entry.value is not None, entry.best) for column, entry in entries)


@cache
def _entry(align: Literal["left", "right"], text: str, is_known: bool, is_best: bool) -> str:
    shown = [escape_latex(row) for row in _rows(align, text)]
    if is_known and align == "right":
        shown = [row.replace("-", "$-$") for row in shown]  # a minus sign instead of a hyphen
        shown[1:] = [rf"\scriptsize {row}" for row in shown[1:]]
    if is_best:
        shown[0] = rf"\textbf{{{shown[0]}}}"
    return _stacked(shown, align, "t")


@cache
def _rows(align: Literal["left", "right"], text: str) -> list[str]:
    """An entry's text as lines."""
    rows = text.split("\n")
    if align == "left":
        return [line for row in rows for line in _wrapped(row)]
    with_interval = len(rows) == 1 and text.endswith("]") and " [" in text
    return (
        text.replace(" [", "\n[").split("\n") if with_interval else rows
    )  # the interval below keeps the column narrow


def _wrapped(text: str) -> list[str]:
    rows = [""]
    for word in text.split(" "):
        longer = f"{rows[-1]} {word}".strip()
        if rows[-1] and len(longer) > _WIDEST:
            rows.append(word)
        else:
            rows[-1] = longer
    return rows


def _stacked(rows: Sequence[str], align: str, place: str) -> str:
    if len(rows) == 1:
        return rows[0]
    body = r" \\ ".join(rows)
    return rf"\begin{{tabular}}[{place}]{{@{{}}{align[0]}@{{}}}}{body}\end{{tabular}}"
