"""What files say cannot steer the terminal or forge a line; with --json, plugins print beside the one document."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
import subprocess
import sys
import unicodedata
from functools import partial
from pathlib import Path

import pytest
from cli.conftest import Command, WriteSuite
from rich.console import Console
from sample_rows import make_row

from benchbench.cli import printing
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


def test_tables_break_between_words_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = partial(Console, force_terminal=True, width=60, color_system=None)
    monkeypatch.setattr("benchbench.cli.printing.Console", narrow)
    long, short = "misclassification " * 3, "a few words " * 5
    printing.print_table(("one", "two", "three", "four"), [(long, short, short, short)])
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert said.split().count("misclassification") == 3
    assert max(map(len, said.splitlines())) <= 60
    printing.print_table(
        tuple("abcdefg"), [tuple(letter * 18 for letter in "abcdefg")]
    )  # for whose words there is no room
    said = capsys.readouterr().out
    assert all(said.count(letter) >= 19 for letter in "abcdefg")


LOUD = """
import os, subprocess, sys
print("python says hello")
os.write(1, b"the system says hello\\n")
subprocess.run([sys.executable, "-c", "print('a child says hello')"])

from torch import nn
from benchbench.contract import BatchLoss, Offer, hookimpl

class Loud:
    def loss(self, model, images, labels, *, threat, generator):
        print("training says hello")
        logits = model(images)
        return BatchLoss(loss=nn.functional.cross_entropy(logits, labels, reduction="sum"), logits=logits)

@hookimpl
def benchbench_defenses():
    print("a hook says hello")
    return [Offer(name="loud", summary="prints", factory=Loud)]
"""
HELLOS = ("python says", "the system says", "a child says", "a hook says")


@pytest.fixture
def loud(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that finds a plugin that prints when it is imported, called and used."""
    (tmp_path / "site" / "loud-1.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "loud.py").write_text(LOUD, encoding="utf-8")
    (tmp_path / "site" / "loud-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1\n")
    (tmp_path / "site" / "loud-1.dist-info" / "entry_points.txt").write_text("[benchbench]\nloud = loud\n")
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")]), *sys.path])
    return {**os.environ, "PYTHONPATH": path}


def run(loud: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchbench", *arguments]
    return subprocess.run(command, env=loud, capture_output=True, text=True, timeout=280, check=False)


def test_plugin_that_prints_on_import_leaves_the_document_whole(loud: dict[str, str]) -> None:
    finished = run(loud, "list", "defense", "--json")
    assert "loud" in {entry["name"] for entry in json.loads(finished.stdout)}
    assert all(hello in finished.stderr for hello in HELLOS)


@pytest.mark.exhaustive  # a whole run
def test_plugin_that_prints_while_it_trains_leaves_the_document_whole(
    loud: dict[str, str], write_suite: WriteSuite
) -> None:
    suite = str(write_suite(defenses=["loud"]))
    finished = run(loud, "run", "--suite", suite, "--json", "--quiet", "--jobs", "1")
    assert json.loads(finished.stdout)["finished"] == 1
    assert "training says hello" in finished.stderr


@pytest.mark.exhaustive  # a whole process
def test_without_json_a_plugin_prints_where_it_wants(loud: dict[str, str]) -> None:
    assert "python says hello" in run(loud, "list", "defense").stdout


def test_table_as_json_is_one_document(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = tmp_path / "board.parquet"
    write_leaderboard(board, [make_row(test_accuracy=0.5)])

    def loud_tables(*_: object, **__: object) -> list[object]:
        print("hello")
        return []

    monkeypatch.setattr("benchbench.reproduction.lookup.paper_tables", loud_tables)
    answer = command("table", board, "--format", "json")
    assert answer.document == []
    assert answer.err == "hello\nhello\n"


def test_standard_output_is_as_before_after_a_mistake(command: Command) -> None:
    before = sys.stdout
    assert command("show", "attack", "absent", "--json").status == 2
    assert command("list", "nothing", "--json", "--more").status == 2
    assert sys.stdout is before
    assert "pgd" in command("list", "attack").out
