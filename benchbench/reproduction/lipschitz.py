"""The page on the two searches for the Lipschitz constant: which one the paper printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from benchbench.errors import counted
from benchbench.leaderboard.identity import DEFENSE, METHOD, THREAT, grouped, tell_apart, values
from benchbench.leaderboard.names import defense_label, defense_order, dropout_label, joined, network_label, number
from benchbench.records import Row
from benchbench.reproduction.contrasts import rank_correlation
from benchbench.reproduction.findings import PUBLISHED, JudgedFinding
from benchbench.reproduction.judging import VERDICTS
from benchbench.reproduction.papers import PAPERS
from benchbench.reproduction.variants import Comparison, compared, markdown_table, over_seeds, plain
from benchbench.reproduction.verdicts import other_budget

_EQUATION, _RELEASED = "test_lipschitz", "test_lipschitz_released"
_SEARCHES = {_EQUATION: "equation", _RELEASED: "released"}  # names by measure, as attributes of `Searched`
_GROUP = tuple(name for name in METHOD if name not in DEFENSE)
_INTRODUCTION = f"""\
# Which local Lipschitz constant did the paper print?

Written from the leaderboard; do not edit.

The paper (NeurIPS version, equation 3) defines the local Lipschitz constant at an example x as the largest ratio
‖f(x) − f(x′)‖₁ / ‖x − x′‖∞ over all x′ in a ball around x; f are the logits. The tables print its mean over the examples.
Ten steps of gradient ascent look for it. The code that the authors released negates the ratio before it climbs, so it
descends, and ends at a small ratio. Each model below was measured by both searches, on the same examples:

- **equation** (`{_EQUATION}`): a random start in the ball, ten steps of a fifth of its radius, upwards
- **released** (`{_RELEASED}`): a start beside x, ten steps of 0.003, downwards

No search finds more than there is: both values are lower bounds of the true constant, and the larger one is nearer to it.
[Upper bounds](../bounds.md) exist, too. `benchbench show metric lipschitz` has the details of both searches."""
_BESIDE = """\
## Beside the printed constants

Means over the seeds. Where the budget is not the paper's, the ratios to the printed constants decide nothing: a constant
changes as its model trains. A rank correlation says whether two columns order the methods alike."""
_FINDINGS = """\
## Do the paper's statements hold under both searches?

In parentheses: how many of the single comparisons are as stated. Tests, effects and intervals: [findings](findings.md)."""


@dataclass(frozen=True, kw_only=True)
class Searched:
    """A printed constant, and what both searches find in our models: means over seeds."""

    runs: tuple[Row, ...]
    printed: float
    equation: float
    released: float
    budget: str  # how it falls short of the paper's; empty if it does not
    all_examples: bool  # whether it was trained on as many examples as the paper's

    @property
    def ratios(self) -> tuple[float, float]:
        """Ours over the printed constant: the equation's search, the released one."""
        return self.equation / self.printed, self.released / self.printed

    @property
    def nearer(self) -> str:
        """The search whose constant is nearer to the printed one, as a ratio."""
        ascended, descended = (max(ratio, 1 / ratio) for ratio in self.ratios)
        return "equation" if ascended < descended else "released"


def lipschitz_page(rows: Iterable[Row], found: Sequence[JudgedFinding], suite: str) -> str:
    """The page in Markdown, from the rows of a leaderboard, also published, and judged findings."""
    models = sorted(searched(rows), key=lambda one: defense_order(one.runs[0]))
    comparable = [one for one in models if not one.budget]
    groups = grouped(models, lambda one: values(one.runs[0], _GROUP)).values()
    ordered = sorted(groups, key=lambda group: (bool(group[0].budget), *_size(group[0])))
    judged = [one for one in found if one.measure in _SEARCHES and one.finding.extras]
    run = [one for one in judged if one.verdict != "not run"]
    parts = [_INTRODUCTION, "## Answers", _which_search(comparable), _orders(ordered), _verdicts(run), _BESIDE]
    for group, label in zip(ordered, _labels(ordered)):
        parts += [f"### {label}", _budget(group), _table(group), _correlations(group)]
    parts += [
        _FINDINGS,
        _findings(judged, run),
        *_again([one for group in ordered for one in group if one.all_examples], suite),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def searched(rows: Iterable[Row]) -> list[Searched]:
    """What is known of each model of a printed constant.

    A model counts once for all attacks, measured on the most examples.
    """
    everything = list(rows)
    printed = [row for row in everything if row.source == "published" and row.test_lipschitz]
    ours = [row for row in everything if row.source == "measured" and all(_both(row))]
    once: dict[tuple[object, ...], Searched] = {}
    for published, runs in over_seeds(sorted(compared(ours, printed), key=_precedence)):
        equation, released = (sum(column) / len(runs) for column in zip(*map(_both, runs)))
        one = Searched(
            runs=tuple(runs),
            printed=published.test_lipschitz or 0.0,
            equation=equation,
            released=released,
            budget=other_budget(runs[0], published),
            all_examples=published.n_train in (None, runs[0].n_train),
        )
        once.setdefault((runs[0].model_id, *values(runs[0], THREAT)), one)
    return list(once.values())


def _precedence(one: Comparison) -> tuple[int, int, int]:
    """More examples first, then the newer version of the paper, then its first table."""
    table = PAPERS.index(one.published.published_source), int(one.published.published_table)
    return -(one.ours.n_test or 0), *table


def _both(row: Row) -> tuple[float, float]:
    """What both searches found in a row's model; zeros where one did not run."""
    return row.test_lipschitz or 0.0, row.extra.get(_RELEASED) or 0.0


def _size(one: Searched) -> tuple[int, str, str]:
    """Longer training first."""
    row = one.runs[0]
    return -(row.epochs or 0) * (row.n_train or 0), row.dataset, row.architecture


def _which_search(comparable: Sequence[Searched]) -> str:
    question = "**Which search's constant was printed?** "
    if not comparable:
        return question + "Open: no model was trained at the paper's budget."
    nearer = [one.nearer for one in comparable]
    ratios = [
        f"{name} {_span(column, plain)}"
        for name, column in zip(_SEARCHES.values(), zip(*(one.ratios for one in comparable)))
    ]
    return (
        f"{question}Of {counted(len(comparable), 'model')} at the paper's budget, the printed constant is nearer (as a ratio) "
        f"to the released search's in {nearer.count('released')}, to the equation's in {nearer.count('equation')}. "
        f"Ours over printed: {', '.join(ratios)}."
    )


def _orders(groups: Sequence[Sequence[Searched]]) -> str:
    """Whether both searches order the methods alike."""
    found = [rank_correlation([(one.equation, one.released) for one in group]) for group in groups]
    known = [value for value in found if value is not None]
    where = f"in the {counted(len(known), 'table')} below (1: the same order)"
    question = "**Do both searches order the methods alike?** "
    return f"{question}Rank correlation {_span(known, '{:.2f}'.format)} {where}." if known else ""


def _verdicts(run: Sequence[JudgedFinding]) -> str:
    """How many statements each search supports, contradicts and leaves open, for each profile."""
    lines = []
    for profile, members in grouped([one for one in run if one.profile != PUBLISHED], lambda one: one.profile).items():
        for measure, search in _SEARCHES.items():
            count = Counter(one.verdict for one in members if one.measure == measure)
            counts = ", ".join(f"{count[verdict]} {verdict}" for verdict in VERDICTS if count[verdict])
            lines += [f"- {profile} profile, {search} search: {counts}"] if counts else []
    return "\n".join(["**Do the paper's statements hold?**\n", *lines]) if lines else ""


def _span(numbers: Sequence[float], shown: Callable[[float], str]) -> str:
    least, most = shown(min(numbers)), shown(max(numbers))
    return least if least == most else f"{least} to {most}"


def _labels(groups: Sequence[Sequence[Searched]]) -> list[str]:
    rows = [group[0].runs[0] for group in groups]
    labels = [joined(r.dataset, network_label(r), dropout_label(r), f"{r.profile} profile") for r in rows]
    return tell_apart(labels, rows, _GROUP)


def _budget(group: Sequence[Searched]) -> str:
    row, counts = group[0].runs[0], [len(one.runs) for one in group]
    seeds = f"{min(counts)} to " * (min(counts) < max(counts)) + counted(max(counts), "seed")
    return f"{row.norm} {number(row.epsilon)}, {group[0].budget or 'the budget of the paper'}, {seeds}."


def _table(group: Sequence[Searched]) -> str:
    heads = ("training method", "printed", "equation", "released", "equation / printed", "released / printed")
    lines = [
        (defense_label(one.runs[0]), *map(plain, (one.printed, one.equation, one.released, *one.ratios)))
        for one in group
    ]
    return markdown_table(heads, lines)


def _correlations(group: Sequence[Searched]) -> str:
    """Spearman's correlation between the three columns: whether they order the methods alike."""
    columns = {name: [getattr(one, name) for one in group] for name in ("printed", *_SEARCHES.values())}
    found = {(a, b): rank_correlation([*zip(columns[a], columns[b])]) for a, b in combinations(columns, 2)}
    known = [f"{a} with {b} {value:.2f}" for (a, b), value in found.items() if value is not None]
    return f"Rank correlation over these {len(group)} lines: {', '.join(known)}." if known else ""


def _findings(judged: Sequence[JudgedFinding], run: Sequence[JudgedFinding]) -> str:
    """A line for each statement, with its verdict under each profile by each search."""
    columns = dict.fromkeys((one.profile, one.measure) for one in run)  # ordered
    verdicts = {(one.finding.statement, one.profile, one.measure): _verdict(one) for one in judged}
    heads = ("statement", *(_head(profile, measure) for profile, measure in columns))
    lines = [
        (statement, *(verdicts.get((statement, *column), "") for column in columns))
        for statement in grouped(judged, lambda one: one.finding.statement)
    ]
    return markdown_table(heads, lines) if run else "Not run."


def _head(profile: str, measure: str) -> str:
    if profile == PUBLISHED:
        return "printed"
    return f"{profile} profile, {_SEARCHES[measure]}"


def _verdict(one: JudgedFinding) -> str:
    judged = one.judged
    return f"{one.verdict} ({judged.holding} of {judged.compared})" if judged.compared else one.verdict


def _again(models: Sequence[Searched], suite: str) -> Iterator[str]:
    """How to check models, and what they cost here."""
    if not models:
        return
    yield "## Check it"
    yield (
        "The models that were trained on as many examples as the paper's, and the seconds they took. `benchbench rerun` trains "
        "one again and compares every number; `benchbench evaluate` measures it again from its weights, in minutes."
    )
    runs = [run for one in models for run in one.runs]
    heads = ("training method", "dataset", "network", "profile", "training", "evaluation", "device", "row", "model")
    yield markdown_table(heads, [(defense_label(row), *_facts(row)) for row in runs])
    first = runs[0]
    yield (
        "For instance, the first one:\n\n"
        f"    benchbench rerun {first.cell_id} --leaderboard leaderboards/{suite}.parquet\n"
        f"    benchbench evaluate --checkpoint leaderboards/{suite}/models/{first.model_id}.safetensors \\\n"
        f"        --architecture {first.architecture} --dataset {first.dataset} --epsilon {number(first.epsilon)} "
        f"--n-test {first.n_test} \\\n"
        '        --metric lipschitz --metric \'{name = "lipschitz", variant = "released"}\''
    )


def _facts(row: Row) -> tuple[str, ...]:
    seconds = (f"{found or 0:,.0f}" for found in (row.train_seconds, row.evaluate_seconds))
    return row.dataset, network_label(row), row.profile, *seconds, row.device, row.cell_id, row.model_id
