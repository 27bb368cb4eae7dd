"""Ranked boards with their texts, and spreads over seeds, for the page of a suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchbench.cell.filters import parse_options
from benchbench.comparison.choosing import by_method
from benchbench.comparison.pairing import spreads
from benchbench.errors import counted
from benchbench.leaderboard import names
from benchbench.leaderboard.identity import METHOD, MODEL, grouped, tell_apart
from benchbench.leaderboard.matching import is_regression
from benchbench.leaderboard.spread import Spread
from benchbench.records import Row
from benchbench.report.contents import Board
from benchbench.report.standings import Standings, standings

_SPREAD = "adv_test_accuracy"


@dataclass(frozen=True, kw_only=True)
class RankedBoard:
    """One board: what its models share, and what each is called."""

    found: Standings
    caption: str
    attacks: tuple[str, ...]
    labels: tuple[str, ...]  # of each place; the network on a second line if the caption lacks it


def ranked_boards(board: Board) -> dict[str, list[RankedBoard]]:
    """By title, the boards of one profile, or of its networks that saw the test set.

    Seen test sets come last. The section with most classifiers to compare comes first.
    """
    found = standings(board.rows if board.detailed is None else board.detailed, board.contenders)
    sections = grouped(found, lambda one: _section(one.places[0].worst))
    order = sorted(sections, key=lambda title: _section_order(sections[title]))
    return {title: [_ranked_board(one) for one in sections[title]] for title in order}


def method_spreads(board: Board) -> list[tuple[str, str, Spread]]:
    """Method, profile, and spread of the robust accuracy, of methods with several seeds."""
    several = [runs for runs in by_method(board.contenders).values() if len(runs) > 1]
    labels = tell_apart([runs[0].method for runs in several], [runs[0].row for runs in several], METHOD)
    measured = ((name, runs[0].row.profile, spreads(runs).get(_SPREAD)) for name, runs in zip(labels, several))
    return [(name, profile, spread) for name, profile, spread in measured if spread is not None]


def _section(row: Row) -> str:
    profile = f"{row.profile.capitalize()} profile"
    return f"{profile}: networks that saw the TEST SET" if row.saw_test_set else profile


def _section_order(boards: Sequence[Standings]) -> tuple[bool, int, bool]:
    row = boards[0].places[0].worst
    compared = sum(len(one.places) for one in boards if len(one.places) > 1 and not is_regression(one.places[0].worst))
    return row.saw_test_set, -compared, row.profile != "paper"


def _ranked_board(found: Standings) -> RankedBoard:
    rows = [place.rows[0] for place in found.places]
    options = [(attack, parse_options(text)) for attack, text in found.attacks]
    short = tuple(names.attack_label(*one) for one in options)
    attacks = short if len(set(short)) == len(short) else tuple(names.component_label(*one) for one in options)
    networks = [_network(row) for row in rows]
    common = networks[0] if len(set(networks)) == 1 else ""
    methods = [names.defense_label(row) for row in rows]
    labels = methods if common else [f"{method}\n{network}" for method, network in zip(methods, networks)]
    threat, examples = (
        f"{rows[0].norm} epsilon {names.number(rows[0].epsilon)}",
        counted(found.examples, "test example"),
    )
    shared = names.joined(names.dataset_label(rows[0]), common, threat, examples, " and ".join(attacks))
    caption = names.joined(shared, names.searched_in(rows[0]))
    return RankedBoard(found=found, caption=caption, attacks=attacks, labels=tuple(tell_apart(labels, rows, MODEL)))


def _network(row: Row) -> str:
    seed = names.seed_label(row)
    return names.joined(names.network_label(row), names.dropout_label(row), names.augmentation_label(row), seed)
