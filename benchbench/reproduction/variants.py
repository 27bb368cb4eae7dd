"""Which variant reproduces the paper's numbers: its equations, or its released code.

Rows measured at the paper's budget count the published numbers that agree, each once. Rows of a smaller budget decide nothing:
their values are only shown beside the published ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchbench.cell.filters import parse_options
from benchbench.leaderboard.formats import escape_markdown
from benchbench.leaderboard.identity import MODEL, by_seed, grouped, tell_apart
from benchbench.leaderboard.matching import is_of_setting, is_regression
from benchbench.leaderboard.names import attack_label, component_label, defense_label, number
from benchbench.leaderboard.tables import MEASURES
from benchbench.records import Row
from benchbench.reproduction import verdicts
from benchbench.reproduction.papers import PaperTable

_VARIED_DEFENSES = ("gr", "llr")
_VARIED_ATTACKS = ("mt-20",)
_OPEN = "Not run at the paper's budget, so this is open."


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A measured row and the published one of its setting and method."""

    ours: Row
    published: Row


def compared(rows: Iterable[Row], published: Sequence[Row]) -> tuple[Comparison, ...]:
    """Each finished row beside the published rows of its setting and method."""
    return tuple(
        Comparison(ours=row, published=reference)
        for row in rows
        for reference in published
        if row.status == "ok" and is_of_setting(reference, row) and verdicts.is_of_method(reference, row)
    )


def variant_sections(paper_table: PaperTable, comparisons: Sequence[Comparison], published: Sequence[Row]) -> list[str]:
    """Markdown sections on a table's methods and attacks with variants."""
    sections = []
    if any(row.defense in _VARIED_DEFENSES for row in published):
        sections += ["## Which variant explains the published numbers", _training_methods(paper_table, comparisons)]
    if any(_is_varied_attack(c) for c in comparisons):
        sections += ["## Which variant of the multi-targeted attack explains them", _attacks(comparisons)]
    if any("test_lipschitz_released" in c.ours.extra for c in comparisons):
        sections += [
            "## Which search for the Lipschitz constant explains them",
            "Both are compared for all tables at once: [the two searches](lipschitz.md).",
        ]
    return sections


def _training_methods(paper_table: PaperTable, comparisons: Sequence[Comparison]) -> str:
    given: dict[str, dict[tuple[str, str], list[str]]] = {}
    elsewhere = []
    for published, runs in over_seeds(comparisons):
        variant = parse_options(runs[0].defense_options or "").get("variant")
        if published.defense not in _VARIED_DEFENSES or variant is None:
            continue
        if verdicts.other_budget(runs[0], published):
            elsewhere += [Comparison(ours=row, published=published) for row in runs]
            continue
        numbers = given.setdefault(component_label(published.defense, {"variant": variant}), {})
        for column in MEASURES["regression" if is_regression(published) else "classification"]:
            verdict = verdicts.judge(runs, published, column.key, step=paper_table.step(column.unit))
            numbers.setdefault((published.cell_id, column.key), []).append(verdict)
    counts = [
        _count(name, Counter(map(verdicts.foremost, numbers.values()))) for name, numbers in sorted(given.items())
    ]
    head = "\n".join(filter(None, counts)) or _OPEN
    smaller = f" At smaller budgets (each pair is published, ours):\n\n{_side_by_side(elsewhere)}"
    return head + (smaller if elsewhere else "")


def _count(name: str, counted: Counter[str]) -> str:
    """How many published numbers agree with a variant, as a line; empty if none was judged."""
    agreeing, undecided = (sum(counted[verdict] for verdict in kind) for kind in (verdicts.AGREEING, verdicts.OPEN))
    judged = agreeing + undecided + counted[verdicts.DIFFERS]
    spread = f", {undecided} are open: the spread over runs is unknown" if undecided else ""
    return f"- {name}: {agreeing} of {judged} numbers agree{spread}" if judged else ""


def over_seeds(comparisons: Iterable[Comparison]) -> Iterator[tuple[Row, list[Row]]]:
    """Each published row with our runs of one configuration, for each configuration."""
    for found in grouped(comparisons, lambda comparison: comparison.published.cell_id).values():
        for runs in by_seed(comparison.ours for comparison in found):
            yield found[0].published, runs


def _attack(row: Row) -> str:
    return attack_label(row.attack, parse_options(row.attack_options))


def _side_by_side(comparisons: Sequence[Comparison]) -> str:
    several = len({_attack(c.ours) for c in comparisons}) > 1
    lines = [
        (
            defense_label(c.ours),
            f"{setting}, {_attack(c.ours)}" if several else setting,
            _pair(c, "test_accuracy", _percent),
            _pair(c, "adv_test_accuracy", _percent),
            _pair(c, "test_lipschitz", plain),
        )
        for c, setting in zip(comparisons, _settings([c.ours for c in comparisons]))
    ]
    heads = ("training method", "setting", "test accuracy (%)", "adv. test accuracy (%)", "test Lipschitz")
    return markdown_table(heads, lines)


def _is_varied_attack(comparison: Comparison) -> bool:
    row = comparison.ours
    return row.attack in _VARIED_ATTACKS and "variant" in parse_options(row.attack_options)


def _attacks(comparisons: Sequence[Comparison]) -> str:
    varied = [c for c in comparisons if _is_varied_attack(c)]
    lines = []
    for c, setting in zip(varied, _settings([c.ours for c in varied])):
        lines.append((defense_label(c.ours), setting, _attack(c.ours), _pair(c, "adv_test_accuracy", _percent)))
    note = _OPEN if any(verdicts.other_budget(c.ours, c.published) for c in varied) else "At the paper's budget."
    table = markdown_table(("training method", "setting", "attack", "adv. test accuracy (%)"), lines)
    return f"{note} The weaker attack leaves the higher accuracy (each pair is published, ours).\n\n{table}"


def _settings(rows: Sequence[Row]) -> list[str]:
    """The setting of each row, extended where those of one method and attack would be equal."""
    labels = [
        f"{defense_label(row)}, {_attack(row)}\n{row.dataset}, {row.architecture}, {row.profile} profile"
        for row in rows
    ]
    return [label.partition("\n")[2] for label in tell_apart(labels, rows, MODEL)]


def _pair(comparison: Comparison, measure: str, shown: Callable[[float | None], str]) -> str:
    return f"{shown(getattr(comparison.published, measure))}, {shown(getattr(comparison.ours, measure))}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if 0.005 <= value < 1e6 else number(value)


def markdown_table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    body = "\n".join(f"| {' | '.join(map(escape_markdown, line))} |" for line in lines)
    return f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}\n{body}"
