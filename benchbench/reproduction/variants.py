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
from benchbench.leaderboard.identity import MODEL, READING, THREAT, by_seed, grouped, tell_apart, values
from benchbench.leaderboard.matching import is_of_setting, is_regression
from benchbench.leaderboard.names import attack_label, component_label, defense_label, number
from benchbench.leaderboard.tables import MEASURES
from benchbench.records import Row
from benchbench.reproduction import verdicts
from benchbench.reproduction.papers import PaperTable

_VARIED_DEFENSES = ("gr", "llr")
_VARIED_ATTACKS = ("mt-20",)
_OPEN = "Not run at the paper's budget, so this is open."
_NO_VERDICT = (
    "Not comparable: no verdict. The constants that the searches find depend on the length of training and on the number of "
    "images. So the nearer search at a smaller budget says nothing about the paper's models."
)


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
    """Markdown sections on a table's methods, attacks and Lipschitz searches with variants."""
    sections = []
    if any(row.defense in _VARIED_DEFENSES for row in published):
        sections += ["## Which variant explains the published numbers", _training_methods(paper_table, comparisons)]
    if any(_is_varied_attack(c) for c in comparisons):
        sections += ["## Which variant of the multi-targeted attack explains them", _attacks(comparisons)]
    if any("test_lipschitz_released" in c.ours.extra for c in comparisons):
        sections += ["## Which search for the Lipschitz constant explains them", _lipschitz(comparisons)]
    return sections


def _training_methods(paper_table: PaperTable, comparisons: Sequence[Comparison]) -> str:
    given: dict[str, dict[tuple[str, str], list[str]]] = {}
    elsewhere = []
    for published, runs in _over_seeds(comparisons):
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


def _over_seeds(comparisons: Iterable[Comparison]) -> Iterator[tuple[Row, list[Row]]]:
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
            _pair(c, "test_lipschitz", _plain),
        )
        for c, setting in zip(comparisons, _settings([c.ours for c in comparisons]))
    ]
    heads = ("training method", "setting", "test accuracy (%)", "adv. test accuracy (%)", "test Lipschitz")
    return _markdown(heads, lines)


def _is_varied_attack(comparison: Comparison) -> bool:
    row = comparison.ours
    return row.attack in _VARIED_ATTACKS and "variant" in parse_options(row.attack_options)


def _attacks(comparisons: Sequence[Comparison]) -> str:
    varied = [c for c in comparisons if _is_varied_attack(c)]
    lines = []
    for c, setting in zip(varied, _settings([c.ours for c in varied])):
        lines.append((defense_label(c.ours), setting, _attack(c.ours), _pair(c, "adv_test_accuracy", _percent)))
    note = _OPEN if any(verdicts.other_budget(c.ours, c.published) for c in varied) else "At the paper's budget."
    table = _markdown(("training method", "setting", "attack", "adv. test accuracy (%)"), lines)
    return f"{note} The weaker attack leaves the higher accuracy (each pair is published, ours).\n\n{table}"


def _lipschitz(comparisons: Sequence[Comparison]) -> str:
    nearer: dict[str, str] = {}
    lines = []
    models = ((published, runs, _searches(runs)) for published, runs in _once_per_model(comparisons))
    measured = [found for found in models if found[0].test_lipschitz and all(found[2])]
    for (published, runs, searches), setting in zip(measured, _settings([runs[0] for _, runs, _ in measured])):
        found = (published.test_lipschitz or 0.0, *searches)
        verdict = verdicts.NOT_COMPARABLE if verdicts.other_budget(runs[0], published) else _nearer(*found)
        nearer |= {published.cell_id: verdict} if verdict != verdicts.NOT_COMPARABLE else {}
        lines.append((defense_label(runs[0]), setting, *map(_plain, found), verdict))
    counted = Counter(nearer.values())
    tally = ", ".join(f"{name} {counted[name]} times" for name in ("equation", "released"))
    return (
        "The equation's search ascends; the released one, its sign reversed, descends, so that its values are lower. "
        + (f"Nearer to the published value, as a ratio: {tally}.\n\n" if nearer else f"{_NO_VERDICT}\n\n")
        + _markdown(("training method", "setting", "published", "equation", "released", "nearer"), lines)
    )


def _searches(runs: Sequence[Row]) -> tuple[float, float]:
    """The constants that both searches find: means over runs that have both; zeros without any."""
    pairs = [(row.test_lipschitz, row.extra.get("test_lipschitz_released")) for row in runs]
    known = [(equation, released) for equation, released in pairs if equation and released]
    equation, released = (sum(found) / len(known) for found in zip(*known)) if known else (0.0, 0.0)
    return equation, released


def _nearer(published: float, equation: float, released: float) -> str:
    def ratio(found: float) -> float:
        return max(found, published) / min(found, published)

    return "equation" if ratio(equation) < ratio(released) else "released"


def _once_per_model(comparisons: Sequence[Comparison]) -> Iterator[tuple[Row, list[Row]]]:
    """`_over_seeds` without repeated models: one has a row per attack, but one Lipschitzness."""
    seen: set[tuple[object, ...]] = set()
    for published, runs in _over_seeds(comparisons):
        row = runs[0]
        key = (published.defense, published.defense_options, row.model_id, *values(row, (*THREAT, *READING)))
        if key not in seen:
            seen.add(key)
            yield published, runs


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


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value >= 0.005 else number(value)


def _markdown(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    body = "\n".join(f"| {' | '.join(map(escape_markdown, line))} |" for line in lines)
    return f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}\n{body}"
