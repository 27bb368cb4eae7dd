"""``benchbench compare``: compare models or leaderboards on the same examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchbench.cli.options import json_option, leaderboards_option, runs_option
from benchbench.cli.printing import note, print_json, print_table, say
from benchbench.errors import UsageError
from benchbench.settings import Folders, find_folders

if TYPE_CHECKING:
    from benchbench.comparison.contenders import Contender
    from benchbench.comparison.pairing import Difference
    from benchbench.comparison.ranking import Place
    from benchbench.leaderboard.spread import Spread

_SHARES = ("test_accuracy", "adv_test_accuracy")


@click.command(name="compare")
@click.argument("subjects", nargs=-1, required=True, metavar="A B [...]")
@leaderboards_option
@runs_option
@json_option
def command(subjects: tuple[str, ...], leaderboards: Path | None, runs: Path | None, as_json: bool) -> None:
    """Compare models on the same test examples, or rank a leaderboard.

    Each example counts under the worst of the attacks that both models have.
    A and B are models: the beginning of a cell or model id, or KEY=VALUE[,KEY=VALUE...], for instance
    dataset=mnist,defense=trades,beta=6; the seeds of a model are combined. Two leaderboards (Parquet files) are compared model
    by model; a single one is ranked.
    Accuracies use exact McNemar tests, Lipschitzness and squared errors paired permutation tests, intervals the paired
    bootstrap. If both models have several seeds, Welch's t-test over the seeds; if one has, the test is whether the single run
    of the other lies in their prediction interval. p-values are corrected by Holm's method; seeds without spread have none.
    """
    folders = find_folders(leaderboards=leaderboards, runs=runs)
    files = [Path(subject) for subject in subjects if subject.endswith(".parquet")]
    if not files:
        _compare_models(subjects, folders, as_json)
    elif len(files) != len(subjects) or len(files) > 2:
        raise UsageError("leaderboards are compared with leaderboards, two at a time", hint="or name models only")
    elif len(files) == 1:
        _rank(_contenders(files, folders), as_json)
    else:
        _compare_leaderboards(files, folders, as_json)


def _contenders(files: Sequence[Path], folders: Folders, wanted: Sequence[str] = ()) -> list[Contender]:
    """The models of leaderboards, or those that some texts of `choose` may mean."""
    from benchbench.comparison.choosing import candidates
    from benchbench.comparison.contenders import OutcomeFiles, find_contenders
    from benchbench.leaderboard import read_rows
    from benchbench.records import Rows

    places = [place for file in files for place in (file.parent / file.stem, file.parent)]
    outcomes = OutcomeFiles([*places, folders.runs], note)
    rows = Rows.joined(read_rows(file, on_problem=note) for file in files)
    rows = rows.where(rows.each(outcomes.has, "outcomes_digest"))
    found = find_contenders(candidates(rows, wanted) if wanted else rows, outcomes)
    if not found:
        raise UsageError(
            f"no row of {', '.join(map(str, files))} has its per-example outcomes here",
            hint="--runs names the folder of the run that measured them",
        )
    return found


def _compare_models(subjects: Sequence[str], folders: Folders, as_json: bool) -> None:
    from benchbench.comparison.choosing import choose
    from benchbench.comparison.contenders import label_runs
    from benchbench.comparison.pairing import compare
    from benchbench.leaderboard.separations import FILE_NAME

    if len(subjects) < 2:
        raise UsageError("one model alone cannot be compared", hint="name two models, or a leaderboard to rank")
    if len(set(subjects)) < len(subjects):
        raise UsageError("a model is named twice")
    files = sorted(path for path in folders.leaderboards.glob("*.parquet") if path.name != FILE_NAME)
    if not files:
        raise UsageError(f"there are no leaderboards in {folders.leaderboards}", hint="--leaderboards names the folder")
    contenders = _contenders(files, folders, subjects)
    chosen = [choose(contenders, subject) for subject in subjects]
    names = label_runs(chosen)
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"a model is named twice: {twice[0]}", hint="name two different models")
    entries = dict(zip(names, chosen))
    _show(compare(entries), _spreads(entries), _flags(entries), as_json, _cards(entries))


def _compare_leaderboards(files: Sequence[Path], folders: Folders, as_json: bool) -> None:
    from benchbench.comparison.choosing import matched
    from benchbench.comparison.contenders import labels
    from benchbench.comparison.pairing import compare

    pairs = matched(_contenders(files[:1], folders), _contenders(files[1:], folders))
    if not pairs:
        raise UsageError("the leaderboards have no model of the same configuration in common")
    entries: dict[str, list[Contender]] = {}
    names = []
    sides = [labels([pair[side] for pair in pairs]) for side in (0, 1)]
    for pair, called in zip(pairs, zip(*sides)):
        one, other = (f"{label} [{file}]" for label, file in zip(called, files))
        entries |= {one: [pair[0]], other: [pair[1]]}
        names.append((one, other))
    _show(compare(entries, names), {}, _flags(entries), as_json, _cards(entries))


def _rank(contenders: Sequence[Contender], as_json: bool) -> None:
    from benchbench.comparison.choosing import methods
    from benchbench.comparison.ranking import rank_all

    rankings = rank_all(contenders)
    spreads = _spreads({name: found for name, found in methods(contenders).items() if len(found) > 1})
    if as_json:
        print_json({"rankings": [_ranking_document(places) for places in rankings], "seeds": _plain(spreads)})
        return
    for title, places in zip(_titles(rankings), rankings):
        _print_ranking(title, places)
    say(
        "= models share a rank unless the difference is significant (accuracies: exact McNemar; squared errors: paired t; "
        "Holm, 0.05)"
    )
    say("Flagged models rank below all others; only the standard AutoAttack as a whole clears flags.")
    _print_spreads(spreads)


def _titles(rankings: Sequence[Sequence[Place]]) -> list[str]:
    """A title for each ranking: its setting, and the differing columns if titles are equal."""
    from benchbench.leaderboard.identity import BALL, tell_apart

    titles = []
    for first in (places[0].contender for places in rankings):
        searched = f", attacks searched in {first.row.rounding}" if first.row.rounding else ""
        titles.append(
            f"{first.row.dataset}, {first.row.norm} epsilon {first.row.epsilon:g}, {first.row.profile} profile, "
            f"{len(first.index):,} test examples, worst of {' and '.join(first.single)}{searched}"
        )
    return tell_apart(titles, [places[0].contender.row for places in rankings], BALL)


def _print_ranking(title: str, places: Sequence[Place]) -> None:
    from benchbench.comparison.contenders import labels

    first = places[0].contender
    measure, single = first.measure, list(first.single) if len(first.rows) > 1 else []
    value = "robust accuracy" if measure in _SHARES else measure
    rows = []
    for place, label in zip(places, labels([place.contender for place in places])):
        rank, interval = f"{place.rank}{'=' if place.tied > 1 else ''}", place.interval
        figures = [_shown(place.value, measure), _range(interval.low, interval.high, measure) if interval else ""]
        figures += [_shown(place.contender.single[attack], measure) for attack in single]
        rows.append((rank, label, *figures, ", ".join(place.contender.flags)))
    say(title)
    print_table(("rank", "model", value, "[95%]", *single, "flags"), rows, right=("rank", value, "[95%]", *single))
    say()


def _ranking_document(places: Sequence[Place]) -> dict[str, object]:
    from benchbench.comparison.contenders import labels

    first = places[0].contender
    return {
        "dataset": first.row.dataset,
        "profile": first.row.profile,
        "norm": first.row.norm,
        "epsilon": first.row.epsilon,
        "precision": first.row.precision,
        "attacks": sorted(name for name, _ in first.attacks),
        "n_test": len(first.index),
        "places": [
            {
                "rank": place.rank,
                "tied": place.tied,
                "model": label,
                "cell_ids": [row.cell_id for row in place.contender.rows],
                "robust_accuracy" if place.contender.measure in _SHARES else place.contender.measure: place.value,
                "interval": dataclasses.asdict(place.interval) if place.interval else None,
                "attacks": dict(place.contender.single),
                "flags": list(place.contender.flags),
            }
            for place, label in zip(places, labels([place.contender for place in places]))
        ],
    }


def _spreads(entries: dict[str, list[Contender]]) -> dict[str, dict[str, Spread]]:
    from benchbench.comparison.pairing import spreads

    return {name: spreads(found) for name, found in entries.items()}


def _flags(entries: dict[str, list[Contender]]) -> dict[str, list[str]]:
    """The flags of the models that have any."""
    found = {name: sorted({flag for one in contenders for flag in one.flags}) for name, contenders in entries.items()}
    return {name: flags for name, flags in found.items() if flags}


def _cards(entries: dict[str, list[Contender]]) -> dict[str, str]:
    """What the authors of the models that have a card state, beside what was found."""
    from benchbench.records.cards import card_note

    notes = {name: card_note(contenders[0].rows) for name, contenders in entries.items()}
    return {name: text for name, text in notes.items() if text}


def _show(
    differences: Sequence[Difference],
    spreads: dict[str, dict[str, Spread]],
    flags: dict[str, list[str]],
    as_json: bool,
    cards: dict[str, str],
) -> None:
    if as_json:
        document = [{**dataclasses.asdict(one), "significant": one.significant} for one in differences]
        print_json({"differences": document, "seeds": _plain(spreads), "flags": flags, "cards": cards})
        return
    headings = ("A", "B", "measure", "A's", "B's", "difference [95%]", "p (Holm)", "verdict", "test")
    rows = [_line(difference) for difference in differences]
    print_table(headings, rows, right=("A's", "B's", "difference [95%]", "p (Holm)"))
    for name, found in flags.items():
        say(f"flagged: {name}: {', '.join(found)}; its robust accuracy may be too good")
    for name, card in cards.items():
        say(f"stated, not checked: {name}: {card}")
    _print_spreads({name: found for name, found in spreads.items() if any(one.n > 1 for one in found.values())})


def _line(d: Difference) -> tuple[str, ...]:
    shown = [_shown(value, d.measure) for value in (d.first, d.second, d.difference)]
    shown[2] += f" {_range(d.low, d.high, d.measure)}"
    verdict = "significant" if d.significant else "tie"
    if d.p_value is None:
        verdict = "no test: the seeds show no spread"
    test = d.test if max(d.seeds) == 1 else f"{d.test} ({d.seeds[0]} and {d.seeds[1]})"
    return (*d.models, d.measure, *shown, "" if d.adjusted is None else f"{d.adjusted:.3g}", verdict, test)


def _print_spreads(spreads: dict[str, dict[str, Spread]]) -> None:
    rows = [
        (name, measure, one.n, _shown(one.mean, measure), deviation, _range(one.low, one.high, measure))
        for name, found in spreads.items()
        for measure, one in found.items()
        for deviation in ["" if one.deviation is None else _shown(one.deviation, measure)]
    ]
    if rows:
        say()
        print_table(("model", "measure", "seeds", "mean", "deviation", "95% interval"), rows)


def _plain(spreads: dict[str, dict[str, Spread]]) -> dict[str, dict[str, object]]:
    return {name: {key: dataclasses.asdict(one) for key, one in found.items()} for name, found in spreads.items()}


def _shown(value: float, measure: str) -> str:
    return f"{value:.2%}" if measure in _SHARES else f"{value:.4g}"


def _range(low: float | None, high: float | None, measure: str) -> str:
    return "" if low is None or high is None else f"[{_shown(low, measure)}, {_shown(high, measure)}]"
