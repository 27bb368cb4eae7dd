"""What files say cannot steer the terminal, forge a line of output or run in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import logging
import unicodedata
from pathlib import Path

import pytest
from cli.conftest import Command, WriteSuite
from rich.console import Console
from sample_rows import make_row

from benchbench.cli.display import LiveDisplay, PlainDisplay
from benchbench.cli.printing import complain, note, print_json, print_table, say
from benchbench.errors import Problem, SuiteError
from benchbench.escaping import printable
from benchbench.events import EvaluationProgress, Note, RunStarted
from benchbench.leaderboard import FORMATS, paper_table, render, write_leaderboard
from benchbench.leaderboard.formats import csv_text

FORGED = "4 confirmed, 0 refuted"
EVIL = f"mnist\n{FORGED}\r\x1b[2J\x1b]0;title\x07\x9b31m\u202egnp\u2066\u200f\u2028\x85\x00\x7f\x0b{FORGED}\U000e0041"
TEXTS = ("dataset", "architecture", "defense", "attack", "profile", "experiment", "protocol", "error", "norm")


def check_shown(text: str, allowed: str = "\n") -> None:
    """No character steers a terminal, and no line is forged."""
    strange = {
        one for one in text if one not in allowed and unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    }
    assert strange == set()
    assert not any(line.lstrip("|&>- ").startswith(FORGED) for line in text.split("\n"))


def evil_rows(path: Path) -> Path:
    """A leaderboard of two rows, failed and finished, whose every text column is hostile."""
    texts = dict.fromkeys(TEXTS, EVIL)
    options = json.dumps({EVIL: EVIL})
    rows = [
        make_row(**texts, cell_id="aa", status="failed"),
        make_row(
            **{**texts, "error": ""},
            cell_id="bb",
            test_accuracy=0.5,
            adv_test_accuracy=0.25,
            flags=(EVIL,),
            extra={EVIL: 1.0},
            defense_options=options,
            attack_options=options,
        ),
    ]
    write_leaderboard(path, rows)
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        *(("table", "{board}", "--format", format) for format in ("rich", *sorted(FORMATS))),
        ("table", "{board}", "--extra", EVIL),
        ("table", "{board}", "--profile", "absent"),
        ("compare", "{board}"),
        ("compare", EVIL, "dataset=x", "--leaderboards", "."),
        ("verify", "{board}"),
        ("verify", "{board}", "--json"),
        ("leaderboard", "merge", "{board}", "{board}", "--out", "merged.parquet"),
        ("rerun", "bb", "--leaderboards", "."),
        ("show", "attack", EVIL),
        ("run", "--suite", EVIL),
        ("run", "--suite", "smoke", "--device", EVIL),
    ],
    ids=lambda arguments: printable(" ".join(arguments[:4]))[:40],
)
def test_hostile_names_are_escaped(arguments: tuple[str, ...], command: Command, tmp_path: Path) -> None:
    board = evil_rows(tmp_path / "board.parquet")
    answer = command(*(argument.format(board=board) if "{board}" in argument else argument for argument in arguments))
    check_shown(answer.out)
    check_shown(answer.err)
    assert answer.out + answer.err


def test_hostile_suite_is_reported_in_its_own_lines(command: Command, write_suite: WriteSuite) -> None:
    named = EVIL.replace("\U000e0041", "")  # which TOML has no escape for
    path = write_suite(defenses=[named, {"name": "at", "steps": named}], attacks=[named])
    answer = command("check", path)
    assert answer.status == 2
    check_shown(answer.out + answer.err)
    assert len(answer.err.splitlines()) == 4  # the count, and three problems
    assert command("check", path, "--json").document["problems"]


def test_page_shows_no_mark_of_direction(command: Command, tmp_path: Path) -> None:
    (tmp_path / "leaderboards").mkdir()
    evil_rows(tmp_path / "leaderboards" / "closer-look.parquet")
    answer = command("report", "--out", tmp_path / "site", "--leaderboards", tmp_path / "leaderboards")
    assert answer.status == 0
    check_shown(answer.out + answer.err)
    pages = [*(tmp_path / "site").rglob("*.html")]
    assert len(pages) >= 4
    for page in pages:
        check_shown(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("sign", "=+-@＝＋－＠")
@pytest.mark.parametrize("before", ["", "\r", "\t", "\n", " ", "\r\n\t ", "\x00", "\u200b", "\xa0", "\ufeff", "\x1b"])
def test_csv_text_is_no_formula_behind_white_space(before: str, sign: str) -> None:
    (found,), (number,) = csv.reader(io.StringIO(csv_text([[f"{before}{sign}1+1"], [-1.5]]), newline=""))
    assert found.startswith("'")
    assert printable(found).replace(r"\n", "\n") == found
    assert number == "-1.5"


def test_csv_leaves_plain_text_alone() -> None:
    assert csv_text([["TRADES (beta=6)", "a=b", "", None, "é†", 'say "x"']]) == 'TRADES (beta=6),a=b,,,é†,"say ""x"""\n'


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"json"}))
def test_tables_for_documents_are_escaped(format: str) -> None:
    table = paper_table([make_row(defense=EVIL, dataset=EVIL, test_accuracy=0.5, flags=(EVIL,))])
    check_shown(render(table, format))


def test_whatever_prints_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    say(EVIL)
    note(EVIL)
    print_json({EVIL: EVIL})
    print_table((EVIL,), [(EVIL,), (Path(EVIL.replace("\x00", "")),)])
    complain(f"error: {SuiteError(EVIL, [Problem(location=EVIL, message=EVIL, hint=EVIL)])}")
    said = capsys.readouterr()
    check_shown(said.out)
    check_shown(said.err)
    assert len(said.err.splitlines()) == 3  # a note, an error, and its one problem


def test_json_reads_back_exactly(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({EVIL: [EVIL, "é ✓ 漢 \ud800"]})
    assert json.loads(capsys.readouterr().out) == {EVIL: [EVIL, "é ✓ 漢 \ud800"]}


def test_progress_is_escaped() -> None:
    lines: list[str] = []
    plain = PlainDisplay(lines.append)
    terminal = Console(file=io.StringIO(), force_terminal=True, width=300, color_system=None)
    started = RunStarted(
        suite=EVIL, profile=EVIL, profile_reason=EVIL, device="cpu", total=1, ready=1, done=0, skipped=0,
        estimated_seconds=None,
    )  # fmt: skip
    with LiveDisplay(terminal, auto_refresh=False) as live:
        for event in (started, Note(message=EVIL), EvaluationProgress(purpose=f"[red]{EVIL}", done=1, total=2)):
            plain.show(event)
            live.show(event)
            live.refresh()
    assert lines
    check_shown("\n".join(lines))
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]mnist\\n4 confirmed" in shown
    assert not set("\x9b\x07\u202e\u2028\x7f") & set(shown)
    assert "\x1b[2J" not in shown


def test_logged_warnings_are_escaped(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    command("list", "attack")
    handler = logging.lastResort
    assert handler is not None
    handler.handle(logging.LogRecord("benchbench", logging.WARNING, "", 0, "%s is damaged", (EVIL,), None))
    check_shown(capsys.readouterr().err)
