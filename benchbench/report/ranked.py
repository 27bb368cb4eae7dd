"""Ranked boards and spreads over seeds as text for the page of a suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchbench.cell.filters import parse_options
from benchbench.comparison.choosing import methods
from benchbench.comparison.pairing import spreads
from benchbench.leaderboard import names
from benchbench.leaderboard.identity import MODEL, grouped, tell_apart
from benchbench.leaderboard.matching import is_regression
from benchbench.leaderboard.spread import Spread
from benchbench.records import Interval, Row
from benchbench.report.contents import Board
from benchbench.report.standings import Standing, Standings, standings

_SPREAD = "adv_test_accuracy"


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A model's line as text; a shared rank ends in ``=``, values that were not measured are empty."""

    rank: str
    label: str
    network: str
    href: str  # of the row whose attack found it least robust
    ids: str  # of its rows and of the model, for the search
    architecture: str  # as in the table of all rows, for the filters; likewise its attacks, a line each
    attacks: str
    value: str
    interval: str
    single: tuple[str, ...]  # under each attack alone
    overall: str  # under all its attacks, if it has more than the board
    clean: str
    certified: str
    remarks: str
    flagged: bool


@dataclass(frozen=True, kw_only=True)
class RankedBoard:
    """One board: what its models share, and a line for each."""

    row: Row  # of its first model, for what all share
    dataset: str
    caption: str
    value: str  # heading of the values, with their unit; likewise `clean`
    clean: str
    attacks: tuple[str, ...]
    paired: bool
    lines: tuple[Ranked, ...]

    @property
    def has_overall(self) -> bool:
        """Whether a model has attacks that the others lack."""
        return any(line.overall for line in self.lines)

    @property
    def has_certified(self) -> bool:
        """Whether a model has a certified bound."""
        return any(line.certified for line in self.lines)


@dataclass(frozen=True, kw_only=True)
class Section:
    """Boards of one profile, or of networks that saw the test set under one profile."""

    title: str
    boards: tuple[RankedBoard, ...]


def ranked_boards(board: Board) -> list[Section]:
    """The ranked boards of a leaderboard's rows that have pages; profiles and seen test sets apart.

    Seen test sets come last. The section with most classifiers to compare comes first.
    """
    found = standings(board.rows if board.detailed is None else board.detailed, board.contenders)
    sections = grouped(found, lambda one: _section(one.places[0].worst))
    order = sorted(sections.items(), key=lambda section: _section_order(section[1]))
    return [Section(title=title, boards=tuple(map(_ranked_board, several))) for title, several in order]


def method_spreads(board: Board) -> list[tuple[str, str, Spread]]:
    """Method, profile, and spread of the robust accuracy, of methods with several seeds."""
    several = {name: found for name, found in methods(board.contenders).items() if len(found) > 1}
    measured = ((name, found[0].row.profile, spreads(found).get(_SPREAD)) for name, found in several.items())
    return [(name, profile, spread) for name, profile, spread in measured if spread is not None]


def _section_order(boards: Sequence[Standings]) -> tuple[bool, int, bool]:
    row = boards[0].places[0].worst
    compared = sum(len(one.places) for one in boards if len(one.places) > 1 and not is_regression(one.places[0].worst))
    return row.trained_on != "train", -compared, row.profile != "paper"


def _section(row: Row) -> str:
    profile = f"{row.profile.capitalize()} profile"
    return profile if row.trained_on == "train" else f"{profile}: networks that saw the TEST SET"


def _ranked_board(found: Standings) -> RankedBoard:
    row = found.places[0].worst
    attacks = _attack_labels([attack for attack, _ in found.attacks], [options for _, options in found.attacks])
    unit = "" if is_regression(row) else " (%)"
    worst = f"worst of {len(attacks)} attacks" if len(attacks) > 1 else f"under {attacks[0]}"
    firsts = [place.rows[0] for place in found.places]
    common = _network(row) if len({_network(one) for one in firsts}) == 1 else ""
    labels = tell_apart([_label(one, bool(common)) for one in firsts], firsts, MODEL)
    return RankedBoard(
        row=row,
        dataset=names.dataset_label(row),
        caption=names.joined(
            names.dataset_label(row),
            common,
            f"{row.norm} epsilon {names.number(row.epsilon)}",
            f"{found.examples:,} test examples",
            " and ".join(attacks),
            names.searched_in(row),
        ),
        value=f"{'Adversarial MSE' if is_regression(row) else 'Robust accuracy'}{unit}, {worst}",
        clean="Test MSE" if is_regression(row) else "Test accuracy (%)",
        attacks=attacks if len(attacks) > 1 else (),
        paired=found.paired,
        lines=tuple(_line(place, label) for place, label in zip(found.places, labels)),
    )


def _attack_labels(attacks: Sequence[str], options: Sequence[str]) -> tuple[str, ...]:
    """Attacks by name; those of one name with the options too."""
    full = [names.attack_label(attack, parse_options(text)) for attack, text in zip(attacks, options)]
    every = [names.component_label(attack, parse_options(text)) for attack, text in zip(attacks, options)]
    named = zip(attacks, full, every)
    return tuple(
        one if attacks.count(one) == 1 else short if full.count(short) == 1 else long for one, short, long in named
    )


def _label(row: Row, is_alike: bool) -> str:
    """Method and network on two lines, or only the method if the caption has the network."""
    return names.defense_label(row) if is_alike else f"{names.defense_label(row)}\n{_network(row)}"


def _network(row: Row) -> str:
    augmentation = row.augmentation if row.augmentation != "none" else ""
    return names.joined(names.network_label(row), names.dropout_label(row), augmentation, f"seed {row.seed}")


def _line(place: Standing, label: str) -> Ranked:
    row = place.worst
    method, _, network = label.partition("\n")
    clean = row.test_mse if is_regression(row) else row.test_accuracy
    challenged = f"challenged: at most {_shown(place.challenged, row)}%" if place.challenged is not None else ""
    return Ranked(
        rank=f"{place.rank}{'=' if place.tied > 1 else ''}",
        label=method,
        network=network,
        href=f"rows/{row.cell_id}.html",
        ids=" ".join([row.model_id, *(one.cell_id for one in place.rows)]),
        architecture=names.network_label(row),
        attacks="\n".join(sorted({one.attack for one in place.rows})),
        value=_shown(place.value, row),
        interval=_bracketed(place.interval, row),
        single=tuple(_shown(value, row) for value in place.single) if len(place.single) > 1 else (),
        overall=_shown(place.overall, row),
        clean=_shown(clean, row),
        certified=_shown(place.certified, row),
        remarks=names.joined(*(f"flag: {flag}" for flag in place.flags), challenged),
        flagged=bool(place.flags),
    )


def _bracketed(interval: Interval | None, row: Row) -> str:
    return "" if interval is None else f"[{_shown(interval.low, row)}, {_shown(interval.high, row)}]"


def _shown(value: float | None, row: Row) -> str:
    """In percent, or with four digits for regressions; empty for None."""
    if value is None:
        return ""
    return f"{value:.4f}" if is_regression(row) else f"{100 * value:.2f}"
