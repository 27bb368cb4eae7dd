"""The pages in Markdown: what they link to and name exists, paragraphs are short, and each page says which kind it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import benchbench

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
GUIDES = [page for page in PAGES if page.parent == ROOT / "docs"]
NAMED = re.compile(r"`((?:benchbench|tests|docs|plugins|benchmarks)/[\w./-]+)`")
LONGEST_PARAGRAPH = 5  # lines

by_name = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links write them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def prose(page: Path) -> list[list[str]]:
    """The paragraphs of a page, each as its lines: no code, tables or headings; each item of a list counts by itself."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(- |\d+\. )", r"\n\1", text, flags=re.MULTILINE)
    blocks = [block.splitlines() for block in re.split(r"\n\s*\n", text)]
    return [block for block in blocks if block and not re.match(r"\||#|    |<|:::", block[0])]


@by_name
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        place, _, anchor = target.partition("#")
        file = page.parent / place if place else page
        if "://" not in target and not (file.exists() and (not anchor or anchor in anchors(file))):
            broken.append(target)
    assert broken == []


@by_name
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = NAMED.findall(page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


@by_name
def test_tests_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`(test_\w+\.py)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not list((ROOT / "tests").rglob(name))] == []


@by_name
def test_paragraphs_are_short(page: Path) -> None:
    assert [block[0] for block in prose(page) if len(block) > LONGEST_PARAGRAPH] == []


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_page_says_which_kind_it_is(page: Path) -> None:
    beginning = page.read_text(encoding="utf-8").split("\n\n")[1]
    assert re.match(r"\*(Tutorial|How-to|Reference|Explanation)\b", beginning)


def test_commands_that_measure_bounds_name_the_number_of_examples_that_the_page_has() -> None:
    commands = re.findall(
        r"`python -m benchmarks\.bounds([^`]*)`", (ROOT / "docs" / "bounds.md").read_text(encoding="utf-8")
    )
    assert commands
    assert [one for one in commands if "--examples" not in one] == []


def test_page_of_python_has_every_name_of_the_api() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert {line.rpartition(".")[2] for line in page.splitlines() if line.startswith("::: ")} == {*benchbench._API}


def test_readme_opens_with_an_example_and_its_output() -> None:
    before, _, after = (ROOT / "README.md").read_text(encoding="utf-8").partition("```python\n")
    assert len(before.splitlines()) < 10
    code, _, shown = after.partition("```\n")
    assert len(code.splitlines()) <= 6
    assert shown.lstrip().startswith("```text\n")


def test_example_at_the_top_of_the_readme_prints_what_stands_below_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    code, shown = re.findall(
        r"```(?:python|text)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )[:2]
    exec(code, {})
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == shown.splitlines()
