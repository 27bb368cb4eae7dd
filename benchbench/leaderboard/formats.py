"""A table as text: Markdown, LaTeX, CSV, JSON or HTML. Text from rows is escaped."""

from __future__ import annotations

import csv
import dataclasses
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

from benchbench.errors import UnknownNameError
from benchbench.escaping import printable, printable_json, printable_lines
from benchbench.leaderboard.latex import latex_document, latex_fragment
from benchbench.leaderboard.layout import Entry, Group, Line, Table

DEPTH_OF_ROWS = 5  # in a list of table documents
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
_SIGNS = frozenset("=+-@＝＋－＠")  # a spreadsheet runs text that begins with one of these


def render(table: Table, format: str) -> str:
    """A table in one of `FORMATS` (else UnknownNameError), ending in a newline.

    Markdown, LaTeX and HTML are for people: rounded, in the units of the headings, best values bold. CSV and JSON are for
    programs: unrounded, in the units of the leaderboard (accuracies as fractions), with the columns of the setting.
    """
    return render_all([table], format)


def render_all(tables: Sequence[Table], format: str) -> str:
    """Several tables in one of `FORMATS`; for ``latex-document`` in one document."""
    if format not in FORMATS:
        raise UnknownNameError("format", format, FORMATS)
    if format == "latex-document":
        return latex_document(tables) + "\n"
    return "\n\n".join(FORMATS[format](table).rstrip("\n") + "\n" for table in tables)


def _markdown(table: Table) -> str:
    parts = [f"## {escape_markdown(table.title)}"]
    rule = "|".join(":{}-" if column.align == "left" else "-{}:" for column in table.columns)
    for group in table.groups:
        headings, *lines = _grid(table, group, escape_markdown, "**{}**")
        drawn = "|" + rule.format(*("-" * len(heading) for heading in headings)) + "|"
        shown = [f"| {' | '.join(line)} |" for line in (headings, *lines)]
        parts += [f"### {escape_markdown(group.label)}", "\n".join([shown[0], drawn, *shown[1:]])]
    parts += ["\n".join(f"- {escape_markdown(note)}" for note in table.notes)]
    return "\n\n".join(part for part in parts if part)


def _html(table: Table) -> str:
    parts = [f"<h2>{_escape_html(table.title)}</h2>"]
    styles = ["" if column.align == "left" else ' style="text-align: right;"' for column in table.columns]
    head, body = ("".join(f"<{tag}{style}>{{}}</{tag}>" for style in styles) for tag in ("th", "td"))
    for group in table.groups:
        headings, *lines = _grid(table, group, _escape_html, "<strong>{}</strong>")
        parts += ["<table>", f"<caption>{_escape_html(group.label)}</caption>"]
        parts += ["<thead>", f"<tr>{head.format(*headings)}</tr>", "</thead>", "<tbody>"]
        parts += [*(f"<tr>{body.format(*line)}</tr>" for line in lines), "</tbody>", "</table>"]
    if table.notes:
        parts.append("<ul>\n" + "\n".join(f"<li>{_escape_html(note)}</li>" for note in table.notes) + "\n</ul>")
    return "\n".join(parts)


def _grid(table: Table, group: Group, escape: Callable[[str], str], bold: str) -> Iterator[tuple[str, ...]]:
    """The headings and the lines of a group, escaped and padded."""
    escape = cache(escape)
    columns = []
    for place, column in enumerate(table.columns):
        texts = [_broken(line.entries[place], escape, bold) for line in group.lines]
        width = max(len(escape(column.heading)) + 2, *map(len, texts))
        pad = str.ljust if column.align == "left" else str.rjust
        columns.append([pad(text, width) for text in (escape(column.heading), *texts)])
    return zip(*columns)


def _broken(entry: Entry, escape: Callable[[str], str], bold: str) -> str:
    """Escaped text with line breaks; Markdown tables and HTML use the same tag for them."""
    first, *others = (escape(line) for line in entry.text.split("\n"))
    return "<br>".join([bold.format(first) if entry.best else first, *others])


def _csv(table: Table) -> str:
    places = range(len(table.columns))
    bounded = [place for place in places if any(line.entries[place].low is not None for line in table.lines)]
    spread = [place for place in places if any(line.entries[place].deviation is not None for line in table.lines)]
    judged = [place for place in places if any(line.entries[place].verdict for line in table.lines)]
    keys = [column.key for column in table.columns]
    head = [name for name, _ in table.groups[0].attributes] if table.groups else []
    head += [*keys, *(f"{keys[place]}_{end}" for place in bounded for end in ("low", "high"))]
    head += [f"{keys[place]}_deviation" for place in spread]
    head += [*(f"{keys[place]}_verdict" for place in judged), "source", "status", "flags", "cell_id"]
    parts = [csv_text([head])]
    for group in table.groups:
        common = (
            csv_text([[value for _, value in group.attributes]], escape=printable)[:-1] + ","
            if group.attributes
            else ""
        )
        lines = (
            [
                *(entry.value for entry in entries),
                *(end for place in bounded for end in (entries[place].low, entries[place].high)),
                *(entries[place].deviation for place in spread),
                *(entries[place].verdict for place in judged),
                *(line.source, line.status, ";".join(line.flags), line.cell_id),
            ]
            for line in group.lines
            for entries in [line.entries]
        )
        parts.append(csv_text(lines, before=common, escape=printable))
    return "".join(parts)


def csv_text(
    lines: Iterable[Iterable[object]], *, before: str = "", escape: Callable[[str], str] = printable_lines
) -> str:
    """Lines as CSV, each after a text; what a spreadsheet would run gets an apostrophe."""
    parts: list[str] = []
    safe = cache(lambda text: _guard(text) + escape(text))
    writer = csv.writer(SimpleNamespace(write=lambda text: parts.append(before + text)), lineterminator="\n")
    for line in lines:
        writer.writerow([safe(value) if isinstance(value, str) else value for value in line])
    return "".join(parts)


def _guard(text: str) -> str:
    """An apostrophe for a formula, also one behind spaces or control characters."""
    if text[:1].isalnum():
        return ""
    return "'" if next((one for one in text if one.isprintable() and not one.isspace()), "") in _SIGNS else ""


def json_pieces(value: object, depth: int) -> Iterator[str]:
    """JSON with a line for each entry of lists and objects down to a depth; fast, unlike indent."""
    if not depth or not value or not isinstance(value, (list, dict)):
        yield json.dumps(value, ensure_ascii=False, allow_nan=False)
        return
    named = isinstance(value, dict)
    yield "{" if named else "["
    for place, one in enumerate(value):
        yield ("," if place else "") + "\n" + (f"{json.dumps(one, ensure_ascii=False)}: " if named else "")
        yield from json_pieces(value[one] if isinstance(value, dict) else one, depth - 1)
    yield "\n}" if named else "\n]"


def table_document(table: Table) -> dict[str, Any]:
    """A table as plain values for JSON: title, columns, groups (settings and lines), notes."""
    columns = [column.key for column in table.columns]
    return {
        "title": table.title,
        "columns": [dataclasses.asdict(column) for column in table.columns],
        "groups": [
            {
                "label": group.label,
                "setting": dict(group.attributes),
                "rows": [_line_document(line, columns) for line in group.lines],
            }
            for group in table.groups
        ],
        "notes": list(table.notes),
    }


def _line_document(line: Line, columns: Sequence[str]) -> dict[str, object]:
    intervals = {key: [e.low, e.high] for key, e in zip(columns, line.entries) if e.low is not None}
    return {
        **{key: entry.value for key, entry in zip(columns, line.entries)},
        "intervals": intervals,
        "deviations": {key: e.deviation for key, e in zip(columns, line.entries) if e.deviation is not None},
        "verdicts": {key: entry.verdict for key, entry in zip(columns, line.entries) if entry.verdict},
        "best": [key for key, entry in zip(columns, line.entries) if entry.best],
        "source": line.source,
        "status": line.status,
        "flags": list(line.flags),
        "cell_id": line.cell_id,
    }


def escape_markdown(text: str) -> str:
    """Text escaped for Markdown, also inside a table."""
    return _MARKDOWN.sub(r"\\\1", printable(text))


def _escape_html(text: str) -> str:
    return html.escape(printable(text))


FORMATS: dict[str, Callable[[Table], str]] = {
    "markdown": _markdown,
    "latex": latex_fragment,
    "latex-document": lambda table: latex_document([table]),
    "csv": _csv,
    "json": lambda table: printable_json(json.dumps(table_document(table), indent=2, ensure_ascii=False)),
    "html": _html,
}
