"""Which variant reproduces the paper's numbers: its equations, or its released code.

Rows measured at the paper's budget count the published numbers that agree, each once. Rows of a smaller budget decide nothing:
their values are only shown beside the published ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchbench.cell.filters import parse_options
from benchbench.leaderboard.formats import escape_markdown
from benchbench.leaderboard.identity import METHOD, by_seed, grouped, tell_apart, values
from benchbench.leaderboard.matching import is_of_setting, is_regression
from benchbench.leaderboard.names import attack_label, component_label, defense_label, defense_order, number
from benchbench.leaderboard.tables import MEASURES
from benchbench.records import Row
from benchbench.reproduction import verdicts
from benchbench.reproduction.papers import PaperTable

_VARIED_DEFENSES = ("gr", "llr")
_VARIED_ATTACKS = ("mt-20",)
_VARIANTS = ("equation", "released")
_AT_BUDGET = "At the paper's budget."
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
            elsewhere.append((published, runs))
            continue
        numbers = given.setdefault(component_label(published.defense, {"variant": variant}), {})
        for column in MEASURES["regression" if is_regression(published) else "classification"]:
            verdict = verdicts.judge(runs, published, column.key, step=paper_table.step(column.unit))
            numbers.setdefault((published.cell_id, column.key), []).append(verdict)
    counts = [
        _count(name, Counter(map(verdicts.foremost, numbers.values()))) for name, numbers in sorted(given.items())
    ]
    head = "\n".join(filter(None, counts)) or _OPEN
    smaller = f" At smaller budgets (each pair is published, ours; means over seeds):\n\n{_side_by_side(elsewhere)}"
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


def _side_by_side(pairs: Sequence[tuple[Row, Sequence[Row]]]) -> str:
    several = len({_attack(runs[0]) for _, runs in pairs}) > 1
    lines = [
        (
            defense_label(runs[0]),
            f"{setting}, {_attack(runs[0])}" if several else setting,
            _pair(published, runs, "test_accuracy", _percent),
            _pair(published, runs, "adv_test_accuracy", _percent),
            _pair(published, runs, "test_lipschitz", plain),
        )
        for (published, runs), setting in zip(pairs, _settings([runs for _, runs in pairs]))
    ]
    heads = ("training method", "setting", "test accuracy (%)", "adv. test accuracy (%)", "test Lipschitz")
    return markdown_table(heads, lines)


def _is_varied_attack(comparison: Comparison) -> bool:
    row = comparison.ours
    return row.attack in _VARIED_ATTACKS and "variant" in parse_options(row.attack_options)


def _attacks(comparisons: Sequence[Comparison]) -> str:
    """A line for each method and setting: what both variants leave, means over seeds."""
    varied = sorted(
        over_seeds(c for c in comparisons if _is_varied_attack(c)), key=lambda one: defense_order(one[1][0])
    )
    models = grouped(varied, lambda one: (one[0].cell_id, *values(one[1][0], METHOD), one[1][0].attack)).values()
    lines, differences = [], []
    for pairs, setting in zip(models, _settings([pairs[0][1] for pairs in models])):
        left = {_variant(runs[0]): _mean(runs, "adv_test_accuracy") for _, runs in pairs}
        found = [left.get(variant) for variant in _VARIANTS]
        published, runs = pairs[0]
        lines.append((defense_label(runs[0]), setting, *map(_percent, (published.adv_test_accuracy, *found))))
        equation, released = found
        differences += [] if equation is None or released is None else [100 * (released - equation)]
    note = _OPEN if any(verdicts.other_budget(runs[0], published) for published, runs in varied) else _AT_BUDGET
    if differences:
        note += (
            f" The released variant leaves {fmean(differences):.2f} points more than the equation's on average "
            f"({min(differences):.2f} to {max(differences):.2f}): the attack that leaves more is the weaker one."
        )
    heads = ("training method", "setting", "published adv. test accuracy (%)", *_VARIANTS)
    return f"{note}\n\n{markdown_table(heads, lines)}"


def _variant(row: Row) -> str:
    return str(parse_options(row.attack_options).get("variant"))


def _settings(several: Sequence[Sequence[Row]]) -> list[str]:
    """The setting of each configuration, extended where one method has equal ones."""
    rows = [runs[0] for runs in several]
    labels = [
        f"{defense_label(row)}, {_attack(row)}\n{row.dataset}, {row.architecture}, {row.profile} profile"
        for row in rows
    ]
    seeds = [f", {len(runs)} seeds" if len(runs) > 1 else "" for runs in several]
    return [label.partition("\n")[2] + more for label, more in zip(tell_apart(labels, rows, METHOD), seeds)]


def _mean(runs: Sequence[Row], measure: str) -> float | None:
    found = verdicts.values_of(runs, measure)
    return fmean(found) if found else None


def _pair(published: Row, runs: Sequence[Row], measure: str, shown: Callable[[float | None], str]) -> str:
    return f"{shown(getattr(published, measure))}, {shown(_mean(runs, measure))}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def plain(value: float | None) -> str:
    """A number as the papers print it, two decimals; very small or large ones by three digits."""
    return "-" if value is None else f"{value:.2f}" if 0.005 <= value < 1e6 else number(value)


def markdown_table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; texts of cells are escaped."""
    body = "\n".join(f"| {' | '.join(map(escape_markdown, line))} |" for line in lines)
    return f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}\n{body}"
