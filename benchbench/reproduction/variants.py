"""Which reading of the paper its numbers come from: the equations, or what the released code computes.

Where rows were measured at the paper's budget, the numbers that agree are counted. Rows of a smaller budget cannot agree or
differ, but a variant that is far off in the same direction throughout still tells something, so their values stand beside
the published ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchbench.leaderboard.comparison import is_of_method, other_budget
from benchbench.leaderboard.formats import escape_markdown
from benchbench.leaderboard.layout import Table
from benchbench.leaderboard.matching import is_of_setting
from benchbench.leaderboard.names import attack_label, component_label, defense_label, number, parse_options
from benchbench.records import Row

AGREEING = ("agrees", "agrees exactly")
_VARIED_DEFENSES = ("gr", "llr")
_VARIED_ATTACKS = ("mt-20",)
_OPEN = "Not run at the paper's budget, so this is open."


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A measured row and the published one of its setting and method."""

    ours: Row
    published: Row


def compared(rows: Iterable[Row], published: Sequence[Row]) -> tuple[Comparison, ...]:
    """Each measured row beside its published one, where there is one.

    Args:
        rows: measured.
        published: of one table.
    """
    return tuple(
        Comparison(ours=row, published=reference)
        for row in rows
        for reference in published
        if row.status == "ok" and is_of_setting(reference, row) and is_of_method(reference, row)
    )


def variant_sections(table: Table, comparisons: Sequence[Comparison]) -> list[str]:
    """Markdown: for each thing that has variants, a heading, what agrees, and a table of what was measured.

    Args:
        table: with verdicts.
        comparisons: of its measured rows.
    """
    sections = []
    if any(line.source == "published" and line.entries[0].text in ("GR", "LLR") for line in table.lines):
        sections += ["## Which variant explains the published numbers", _training_methods(table, comparisons)]
    if any(_is_varied_attack(c) for c in comparisons):
        sections += ["## Which variant of the multi-targeted attack explains them", _attacks(comparisons)]
    if any("test_lipschitz_released" in c.ours.extra for c in comparisons):
        sections += ["## Which search for the Lipschitz constant explains them", _lipschitz(comparisons)]
    return sections


def _training_methods(table: Table, comparisons: Sequence[Comparison]) -> str:
    by_cell = {line.cell_id: line for line in table.lines}
    agreeing: Counter[str] = Counter()
    judged: Counter[str] = Counter()
    elsewhere = []
    for comparison in comparisons:
        row = comparison.ours
        variant = parse_options(row.defense_options).get("variant")
        if row.defense not in _VARIED_DEFENSES or variant is None:
            continue
        given = [e.verdict for e in by_cell[row.cell_id].entries if e.verdict in (*AGREEING, "differs")]
        name = component_label(row.defense, {"variant": variant})
        agreeing[name] += sum(verdict in AGREEING for verdict in given)
        judged[name] += len(given)
        if not given:
            elsewhere.append(comparison)
    counts = [f"- {name}: {agreeing[name]} of {judged[name]} numbers agree" for name in sorted(judged) if judged[name]]
    head = "\n".join(counts) or _OPEN
    return (
        f"{head} At smaller budgets (each pair is published, ours):\n\n{_side_by_side(elsewhere)}"
        if elsewhere
        else head
    )


def _side_by_side(comparisons: Iterable[Comparison]) -> str:
    """What training methods reached, published and ours."""
    return _markdown(
        ("training method", "setting", "test accuracy (%)", "adv. test accuracy (%)", "test Lipschitz"),
        [
            (
                defense_label(c.ours),
                _setting(c.ours),
                _pair(c.published.test_accuracy, c.ours.test_accuracy, _percent),
                _pair(c.published.adv_test_accuracy, c.ours.adv_test_accuracy, _percent),
                _pair(c.published.test_lipschitz, c.ours.test_lipschitz, _plain),
            )
            for c in comparisons
        ],
    )


def _is_varied_attack(comparison: Comparison) -> bool:
    row = comparison.ours
    return row.attack in _VARIED_ATTACKS and "variant" in parse_options(row.attack_options)


def _attacks(comparisons: Sequence[Comparison]) -> str:
    varied = [c for c in comparisons if _is_varied_attack(c)]
    lines = [
        (
            defense_label(c.ours),
            _setting(c.ours),
            attack_label(c.ours.attack, parse_options(c.ours.attack_options)),
            _pair(c.published.adv_test_accuracy, c.ours.adv_test_accuracy, _percent),
        )
        for c in varied
    ]
    note = _OPEN if any(other_budget(c.ours, c.published) for c in varied) else "At the paper's budget."
    return f"{note} The weaker attack leaves the higher accuracy (each pair is published, ours).\n\n" + _markdown(
        ("training method", "setting", "attack", "adv. test accuracy (%)"), lines
    )


def _lipschitz(comparisons: Sequence[Comparison]) -> str:
    nearer: Counter[str] = Counter()
    lines = []
    for c in _once_per_model(comparisons):
        published, equation = c.published.test_lipschitz, c.ours.test_lipschitz
        released = c.ours.extra.get("test_lipschitz_released")
        if not published or not equation or not released:
            continue
        verdict = "equation" if _ratio(equation, published) < _ratio(released, published) else "released"
        nearer[verdict] += 1
        values = (published, equation, released)
        lines.append((defense_label(c.ours), _setting(c.ours), *map(_plain, values), verdict))
    tally = ", ".join(f"{name} {nearer[name]} times" for name in ("equation", "released"))
    return (
        "The equation's search ascends; the released one, its sign reversed, descends, so that its values are lower. "
        f"Nearer to the published value, as a ratio: {tally}.\n\n"
        + _markdown(("training method", "setting", "published", "equation", "released", "nearer"), lines)
    )


def _ratio(one: float, other: float) -> float:
    """The larger by the smaller, at least 1."""
    return max(one, other) / min(one, other)


def _once_per_model(comparisons: Sequence[Comparison]) -> Iterator[Comparison]:
    """Lipschitzness depends on the model alone, which stands in the table once for each attack."""
    seen: set[tuple[str, int]] = set()
    for comparison in comparisons:
        key = (comparison.ours.model_id, comparison.ours.n_test)
        if key not in seen:
            seen.add(key)
            yield comparison


def _setting(row: Row) -> str:
    return f"{row.dataset}, {row.architecture}, {row.profile} profile"


def _pair(published: float | None, ours: float | None, shown: Callable[[float | None], str]) -> str:
    return f"{shown(published)}, {shown(ours)}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value >= 0.005 else number(value)


def _markdown(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    body = "\n".join(f"| {' | '.join(map(escape_markdown, line))} |" for line in lines)
    return f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}\n{body}"
