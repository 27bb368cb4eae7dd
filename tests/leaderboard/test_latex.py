"""LaTeX: compiles in a document with booktabs and by itself, with any names; nothing escapes its place."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_rows import make_row

from benchbench.leaderboard import Table, paper_table, published_rows, render, render_all
from benchbench.leaderboard.latex import escape_latex
from benchbench.records import Row
from benchbench.reproduction import Measured, make_table
from benchbench.reproduction.papers import TABLES

HOSTILE = (
    '<script>|a & b_c $x^2$ 50% #1 ~ \\input{/etc/passwd} **x** `y` [z](u) "q" \N{SNOWMAN} \u00e9 -- \u00df \u4e2d'
)
BOOKTABS_ALONE = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n%s\\end{document}\n"


def measured() -> list[Row]:
    """Rows with intervals, ties, flags, failures and names that mean something to LaTeX."""
    bounds = {
        "test_accuracy_low": 0.95,
        "test_accuracy_high": 1.0,
        "test_lipschitz_low": 1.0,
        "test_lipschitz_high": 9.5,
    }
    rows = [
        make_row(cell_id="a", test_accuracy=0.99, test_lipschitz=5.5, gap=-0.01, **bounds),
        make_row(
            cell_id="b", model_id="b", defense="my_method%", test_accuracy=0.99, flags=("zero-gradients", HOSTILE)
        ),
        make_row(cell_id="c", defense=HOSTILE, status="failed", error=HOSTILE),
        make_row(cell_id="d", dataset=HOSTILE, architecture=HOSTILE, attack=HOSTILE, test_accuracy=1.0),
    ]
    return [*rows, *(make_row(cell_id=f"s{seed}", defense="at", seed=seed, test_accuracy=0.5) for seed in range(70))]


def tables(rows: list[Row]) -> list[Table]:
    """Ours, ours beside published, and every table of both papers."""
    evidence = Measured(suite="closer-look", rows=[*rows, *published_rows()], separations=())
    ours = [paper_table(evidence.rows, published=published, intervals=True) for published in (False, True)]
    regression = paper_table(evidence.rows, task="regression", published=True)
    return [*ours, regression, *(make_table(one, evidence) for one in TABLES)]


def compiled(folder: Path, text: str) -> str:
    """The log of pdfLaTeX; fails where it would stop."""
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("no pdflatex: install Debian's texlive-latex-recommended")
    (folder / "t.tex").write_text(text, encoding="utf-8")
    arguments = [program, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "t.tex"]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "t.pdf").stat().st_size > 10_000
    return done.stdout


def test_every_table_compiles_in_a_document_that_has_booktabs_alone(tmp_path: Path) -> None:
    log = compiled(tmp_path, BOOKTABS_ALONE % render_all(tables(measured()), "latex"))
    assert "Float too large" not in log  # each fits a page


def test_document_compiles_by_itself_and_no_table_is_wider_than_the_text(tmp_path: Path) -> None:
    log = compiled(tmp_path, render_all(tables([]), "latex-document"))
    assert "Float too large" not in log
    assert "Overfull" not in log


def test_tables_use_booktabs_and_have_one_place_for_each_column() -> None:
    text = render(paper_table(published_rows(), published=True), "latex")
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{table}", r"\end{table}", r"\end{tabular}"):
        assert rule in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in body} == {7}
    assert text.count("{") == text.count("}")


def test_best_values_are_bold_and_negative_ones_have_a_minus() -> None:
    text = render(paper_table(measured()), "latex")
    assert r"\textbf{99.00}" in text
    assert "$-$1.00" in text


def test_long_groups_are_continued_in_another_table() -> None:
    text = render(paper_table(measured(), each_seed=True), "latex")
    assert text.count("continued}") == 1
    assert text.count("AT, seed ") == 70


@given(st.text())
def test_escape_leaves_no_active_character(text: str) -> None:
    escaped = escape_latex(text)
    for command in ("textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater", "textbar", "dag",
                    "ddag", "textpm"):  # fmt: skip
        escaped = escaped.replace(f"\\{command}{{}}", "")
    escaped = re.sub(r"\\[{}$&#%_]", "", escaped).replace("{[}", "").replace("{]}", "")
    assert not set(escaped) & set('\\{}$&#%_^~<>|[]"')


def test_names_are_escaped() -> None:
    text = render(paper_table(measured()), "latex")
    assert r"\input{" not in text
    assert r"my\_method\%" in text
    assert r"b\_c \$x\textasciicircum{}2\$ 50\% \#1" in text
