"""Find what a user names, models or leaderboards, and compare it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from benchbench.comparison.choosing import candidates, choose, matched, methods
from benchbench.comparison.contenders import Contender, OutcomeFiles, find_contenders, label_runs, labels
from benchbench.comparison.pairing import compare, spreads
from benchbench.comparison.ranking import rank_all
from benchbench.comparison.showing import Spreads, comparison, rankings
from benchbench.errors import UsageError
from benchbench.leaderboard import read_rows
from benchbench.leaderboard.frames import Listing
from benchbench.leaderboard.separations import FILE_NAME
from benchbench.records import Rows
from benchbench.records.cards import card_note
from benchbench.settings import Folders

_log = logging.getLogger(__name__)
Entries = dict[str, list[Contender]]


def compare_subjects(
    subjects: Sequence[str], folders: Folders, *, on_problem: Callable[[str], None] = _log.warning
) -> Listing:
    """Compare models, or two leaderboards model by model; rank a single leaderboard.

    Leaderboards are Parquet files, models texts of `choose`. `on_problem` receives a message about each damaged row or file. It
    is a UsageError if something is named that does not exist, is named twice or has no outcomes here.
    """
    files = [Path(subject) for subject in subjects if subject.endswith(".parquet")]
    if not files:
        return _compare_models(subjects, folders, on_problem)
    if len(files) != len(subjects) or len(files) > 2:
        raise UsageError("leaderboards are compared with leaderboards, two at a time", hint="or name models only")
    found = [_contenders([file], folders, on_problem) for file in files]
    return _rank(found[0]) if len(files) == 1 else _compare_leaderboards(files, *found)


def _contenders(
    files: Sequence[Path], folders: Folders, on_problem: Callable[[str], None], wanted: Sequence[str] = ()
) -> list[Contender]:
    """The models of leaderboards, or those that some texts of `choose` may mean."""
    places = [place for file in files for place in (file.parent / file.stem, file.parent)]
    outcomes = OutcomeFiles([*places, folders.runs], on_problem)
    rows = Rows.joined(read_rows(file, on_problem=on_problem) for file in files)
    rows = rows.where(rows.each(outcomes.has, "outcomes_digest"))
    found = find_contenders(candidates(rows, wanted) if wanted else rows, outcomes)
    if not found:
        raise UsageError(
            f"no row of {', '.join(map(str, files))} has its per-example outcomes here",
            hint="--runs names the folder of the run that measured them",
        )
    return found


def _compare_models(subjects: Sequence[str], folders: Folders, on_problem: Callable[[str], None]) -> Listing:
    if len(subjects) < 2:
        raise UsageError("one model alone cannot be compared", hint="name two models, or a leaderboard to rank")
    if len(set(subjects)) < len(subjects):
        raise UsageError("a model is named twice")
    files = sorted(path for path in folders.leaderboards.glob("*.parquet") if path.name != FILE_NAME)
    if not files:
        raise UsageError(f"there are no leaderboards in {folders.leaderboards}", hint="--leaderboards names the folder")
    contenders = _contenders(files, folders, on_problem, subjects)
    chosen = [choose(contenders, subject) for subject in subjects]
    names = label_runs(chosen)
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"a model is named twice: {twice[0]}", hint="name two different models")
    entries = dict(zip(names, chosen))
    return comparison(compare(entries), _spreads(entries), _flags(entries), cards=_cards(entries))


def _compare_leaderboards(files: Sequence[Path], first: list[Contender], second: list[Contender]) -> Listing:
    pairs = matched(first, second)
    if not pairs:
        raise UsageError("the leaderboards have no model of the same configuration in common")
    entries: Entries = {}
    names = []
    sides = [labels([pair[side] for pair in pairs]) for side in (0, 1)]
    for pair, called in zip(pairs, zip(*sides)):
        one, other = (f"{label} [{file}]" for label, file in zip(called, files))
        entries |= {one: [pair[0]], other: [pair[1]]}
        names.append((one, other))
    return comparison(compare(entries, names), {}, _flags(entries), cards=_cards(entries))


def _rank(contenders: Sequence[Contender]) -> Listing:
    several = {name: found for name, found in methods(contenders).items() if len(found) > 1}
    ranked = rank_all(contenders)
    if not ranked:
        raise UsageError(
            "no two models here have the same data, threat and profile", hint="benchbench table shows them"
        )
    return rankings(ranked, _spreads(several))


def _spreads(entries: Entries) -> Spreads:
    return {name: spreads(found) for name, found in entries.items()}


def _flags(entries: Entries) -> dict[str, list[str]]:
    """The flags of the models that have any."""
    found = {name: sorted({flag for one in contenders for flag in one.flags}) for name, contenders in entries.items()}
    return {name: flags for name, flags in found.items() if flags}


def _cards(entries: Entries) -> dict[str, str]:
    """What the authors of the models that have a card state, beside what was found."""
    notes = {name: card_note(contenders[0].rows) for name, contenders in entries.items()}
    return {name: text for name, text in notes.items() if text}
