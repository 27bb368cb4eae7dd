"""The reproduction report: one page per published table, written only from the leaderboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchbench.atomic import write_bytes_atomically
from benchbench.errors import counted
from benchbench.figures import FIGURES
from benchbench.leaderboard.formats import escape_markdown, render
from benchbench.leaderboard.identity import READING, grouped, values
from benchbench.leaderboard.layout import Table
from benchbench.leaderboard.names import joined, seed_label, trained_in
from benchbench.leaderboard.separations import MeasuredSeparation
from benchbench.records import Row
from benchbench.registry import load_registry
from benchbench.reproduction.findings import PUBLISHED, Grounds, JudgedFinding, judge_findings
from benchbench.reproduction.findings_table import findings_page
from benchbench.reproduction.judging import VERDICTS as FINDING_VERDICTS
from benchbench.reproduction.lipschitz import lipschitz_page
from benchbench.reproduction.papers import TABLES, PaperTable
from benchbench.reproduction.separation_table import separation_table
from benchbench.reproduction.setups import setup_table, suite_setups
from benchbench.reproduction.variants import compared, variant_sections
from benchbench.reproduction.verdict_tables import comparison_table, stands_in
from benchbench.reproduction.verdicts import AGREEING, DIFFERS, FAILED, NOT_COMPARABLE, NOT_RUN, OPEN, VERDICTS, tally
from benchbench.settings import find_folders
from benchbench.suite import read_suite


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Measurements with a suite (name or path): leaderboard rows, also published, separations."""

    suite: str
    rows: Sequence[Row]
    separations: Sequence[MeasuredSeparation] = ()


def make_table(paper_table: PaperTable, evidence: Measured, *, each_seed: bool = False) -> Table:
    """A published table with ours beside every number: means over seeds, or a line each, too."""
    if paper_table.kind == "separation":
        return separation_table(evidence.separations, paper_table)
    if paper_table.kind == "setup":
        registry = load_registry()
        suite = read_suite(evidence.suite, registry)
        return setup_table(suite_setups(suite, registry, evidence.rows, paper_table), paper_table)
    return comparison_table(evidence.rows, paper_table, each_seed=each_seed)


def write_pages(folder: Path, evidence: Measured) -> list[Path]:
    """Write a page for each table, and ``lipschitz.md``, ``findings.md`` and ``README.md``."""
    tables = {paper_table: make_table(paper_table, evidence) for paper_table in TABLES}
    written = []
    for paper_table, table in tables.items():
        path = folder / _file_name(paper_table)
        write_bytes_atomically(path, render_page(paper_table, table, evidence).encode())
        written.append(path)
    registry = load_registry()
    suite, separations = read_suite(evidence.suite, registry), evidence.separations
    source = find_folders().source()
    grounds = Grounds(rows=evidence.rows, separations=separations, registry=registry, source=source)
    found = judge_findings(suite, grounds)
    pages = {
        "lipschitz.md": lipschitz_page(evidence.rows, found, suite.name),
        "findings.md": findings_page(found, suite.name),
        "README.md": _contents(tables, found),
    }
    for name, text in pages.items():
        written.append(folder / name)
        write_bytes_atomically(written[-1], text.encode())
    return written


def _file_name(paper_table: PaperTable) -> str:
    return f"{paper_table.paper}-table-{paper_table.number}.md"


def render_page(paper_table: PaperTable, table: Table, evidence: Measured) -> str:
    """The page of a paper's table in Markdown; `table` is `make_table` of it."""
    shown = {cell_id for line in table.lines if line.source == "measured" for cell_id in line.cell_id.split(";")}
    rows = [row for row in evidence.rows if row.cell_id in shown]
    published = [row for row in evidence.rows if stands_in(row, paper_table)]
    command = f"benchbench table {evidence.suite} --table {paper_table.number} --paper {paper_table.paper}"
    parts = [
        f"# {paper_table.title}",
        f"Written from the leaderboard; do not edit. The table alone: `{command}`.",
        "## What was run",
        _what_was_run(paper_table, rows, evidence),
        "## Results",
        _summary(tally(table)),
        *variant_sections(paper_table, compared(rows, published), published),
        "## The numbers",
        render(table, "markdown").partition("\n")[2],  # without the table's title
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _what_was_run(paper_table: PaperTable, rows: Sequence[Row], evidence: Measured) -> str:
    if paper_table.kind == "setup":
        return "Nothing needs to run: the setups are the recipes of the suite's paper profile."
    if paper_table.kind == "separation":
        lines = [f"- {s.dataset}, {s.labels} labels: {s.n_train:,} + {s.n_test:,} images" for s in evidence.separations]
        return "\n".join(map(escape_markdown, lines)) or "Nothing yet."
    lines = [
        f"- {escape_markdown(_budget(members))}: {counted(len(members), 'row')}, {_time(members)}"
        for members in grouped(rows, _conditions).values()
    ]
    return "\n".join(lines) or "Nothing yet."


def _conditions(row: Row) -> tuple[object, ...]:
    columns = (
        "profile",
        "dataset",
        "architecture",
        "attack",
        "n_train",
        *READING,
        "epochs",
        "train_precision",
        "device",
    )
    return values(row, columns)


def _budget(rows: Sequence[Row]) -> str:
    """What rows share, with all their seeds and commits."""
    row = rows[0]
    epochs = counted(row.epochs, "epoch") if row.epochs else "fitted without epochs"
    trained = "" if row.n_train is None else f"{row.n_train:,} training and "
    seeds = sorted({one.seed for one in rows if one.seed is not None})
    seeded = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}" if seeds else seed_label(row)
    commits = sorted({one.git_commit[:12] for one in rows if one.git_commit})
    return joined(
        f"{row.profile} profile, {row.dataset}, {row.architecture}, {row.attack}: {trained}{row.n_test:,} test examples",
        epochs,
        seeded,
        f"{row.precision} on {row.device or 'an unnamed device'}",
        trained_in(row),
        f"commit{'s' * (len(commits) > 1)} {', '.join(commits)}" if commits else "",
    )


def _time(rows: Sequence[Row]) -> str:
    training = {row.model_id: row.train_seconds or 0.0 for row in rows}
    evaluation = sum(row.evaluate_seconds or 0.0 for row in rows)
    return f"{sum(training.values()):,.0f} s of training and {evaluation:,.0f} s of evaluation"


def _summary(counted: Counter[str]) -> str:
    if not counted:
        return "No number could be compared."
    given = ", ".join(f"{name} {counted[name]}" for name in VERDICTS if counted[name])
    return f"Each of the {counted.total()} published numbers by its verdict: {given}."


def _contents(tables: dict[PaperTable, Table], found: Sequence[JudgedFinding]) -> str:
    head = (
        "# Reproduction report\n\nOne page per table of both versions of the paper, written from the leaderboard by\n\n"
        "    benchbench table closer-look --pages docs/reproduction\n\n"
        "Every published number counts once. If several of our rows are compared with it, the first of their verdicts counts, "
        f"in this order: {', '.join(f'*{verdict}*' for verdict in VERDICTS)}. "
        "A number is open if its spread over runs is unknown.\n\n"
        "| table | shows | agree | open | differ | not comparable | not run |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |\n"
    )
    listed = "".join(_contents_line(paper_table, table) for paper_table, table in tables.items())
    verdicts = Counter(one.verdict for one in found if one.profile != PUBLISHED)
    counted = ", ".join(f"{name} {verdicts[name]}" for name in FINDING_VERDICTS)
    drawn = "".join(f"| `{name}` | {caption} |\n" for name, caption in FIGURES.items())
    return (
        f"{head}{listed}\n## Findings\n\n[What the paper states](findings.md), for each profile and measure: {counted}.\n\n"
        "[Which local Lipschitz constant the paper printed](lipschitz.md); do its statements hold under the other one?\n\n"
        "## Figures\n\n`benchbench figure closer-look --figure NAME` draws each from the rows, at the size of a column.\n\n"
        f"| name | shows |\n| --- | --- |\n{drawn}"
    )


def _contents_line(paper_table: PaperTable, table: Table) -> str:
    given = tally(table)
    kinds = (AGREEING, OPEN, (DIFFERS,), (NOT_COMPARABLE,), (NOT_RUN, FAILED))
    counts = (sum(given[name] for name in kind) for kind in kinds)
    cells = [f"[{paper_table.name}]({_file_name(paper_table)})", paper_table.caption, *map(str, counts)]
    return f"| {' | '.join(cells)} |\n"
