"""Ranked boards: worst cases and ranks against brute force, one row per model, what is kept apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contender_samples import contender, share
from sample_rows import make_row
from site_samples import site

from benchbench.comparison.contenders import Contender
from benchbench.comparison.pairing import holm
from benchbench.leaderboard.challenges import CHALLENGED
from benchbench.records import Row, accuracy_interval
from benchbench.report import Board
from benchbench.report.ranked import ranked_boards
from benchbench.report.standings import Standings, standings


def stand(*contenders: Contender, without: Sequence[Row] = ()) -> list[Standings]:
    """The boards of models with outcomes, and of rows without."""
    return standings([*(row for one in contenders for row in one.rows), *without], contenders)


def row(name: str, attack: str, accuracy: float, **columns: Any) -> Row:
    """A row of 100 test examples, without outcomes."""
    interval = accuracy_interval(round(100 * accuracy), 100)
    given = {"adv_test_accuracy": accuracy, "n_test": 100, "defense": name, **columns}
    ends = {"adv_test_accuracy_low": interval.low, "adv_test_accuracy_high": interval.high}
    return make_row(cell_id=f"{name}-{attack}", model_id=name, attack=attack, **ends, **given)


def exact_mcnemar(first: list[bool], second: list[bool]) -> float:
    """Two-sided p-value, by summing binomial coefficients."""
    only_first = sum(a and not b for a, b in zip(first, second))
    only_second = sum(b and not a for a, b in zip(first, second))
    n, k = only_first + only_second, min(only_first, only_second)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


@pytest.mark.parametrize("seed", range(5))
def test_worst_cases_and_ranks_are_those_of_brute_force(seed: int) -> None:
    generator = np.random.default_rng(seed)
    attacks = ("mt", "pgd", "square")
    robust = {f"m{i}": {a: generator.random(60) < generator.uniform(0.3, 1) for a in attacks} for i in range(7)}
    flagged = {"m2", "m5"}
    models = [contender(name, *one.items(), flags=("f",) if name in flagged else ()) for name, one in robust.items()]
    (board,) = stand(*models)
    worst = {name: [all(one[a][i] for a in attacks) for i in range(60)] for name, one in robust.items()}
    pairs = [(a, b) for a in worst for b in worst if a < b]
    p_values = dict(zip(pairs, holm([exact_mcnemar(worst[a], worst[b]) for a, b in pairs])))
    order = sorted(worst, key=lambda name: (name in flagged, -sum(worst[name]), f"{name}-mt"))
    expected: dict[str, int] = {}
    members: list[str] = []
    for place, name in enumerate(order, start=1):
        apart = any(p_values[min(name, one), max(name, one)] < 0.05 for one in members)
        if apart or (members and (name in flagged) != (members[0] in flagged)):
            members = []
        members.append(name)
        expected[name] = place - len(members) + 1
    assert {one.worst.model_id: one.rank for one in board.places} == expected
    for one in board.places:
        known = robust[one.worst.model_id]
        assert one.value == sum(worst[one.worst.model_id]) / 60
        assert one.single == tuple(float(np.mean(known[a])) for a in attacks)
        assert one.worst.attack == min(attacks, key=lambda a: float(np.mean(known[a])))


def test_without_outcomes_the_worst_attack_counts_and_intervals_rank() -> None:
    accuracies = {"a": (0.9, 0.8), "b": (0.75, 0.85), "c": (0.3, 0.5), "d": (0.95, 0.99)}
    rows = [row(name, attack, one) for name, both in accuracies.items() for attack, one in zip(("mt", "pgd"), both)]
    (board,) = standings(rows, ())
    assert not board.paired
    assert [(one.worst.model_id, one.value, one.rank, one.tied) for one in board.places] == [
        ("d", 0.95, 1, 1),
        ("a", 0.8, 2, 2),
        ("b", 0.75, 2, 2),
        ("c", 0.3, 4, 1),
    ]
    assert accuracy_interval(95, 100).low > accuracy_interval(80, 100).high  # d is apart from a, and a is not from b
    assert accuracy_interval(80, 100).low < accuracy_interval(75, 100).high


def test_a_model_is_on_one_board_whatever_attacks_others_have() -> None:
    most = [contender(f"m{i}", ("mt", share(90 - i)), ("pgd", share(80 - i))) for i in range(3)]
    more = contender("more", ("mt", share(90)), ("pgd", share(85)), ("square", np.arange(100) >= 60))
    fewer = contender("fewer", ("pgd", share(99)))
    first, second = stand(*most, more, fewer)
    assert [attack for attack, _ in first.attacks] == ["mt", "pgd"]
    assert {one.worst.model_id: one.value for one in first.places} == {"m0": 0.8, "m1": 0.79, "m2": 0.78, "more": 0.85}
    assert {one.worst.model_id: one.overall for one in first.places} == {
        "m0": None,
        "m1": None,
        "m2": None,
        "more": 0.25,
    }
    assert [one.worst.model_id for one in second.places] == ["fewer"]


def test_a_further_attack_on_fewer_examples_never_makes_a_model_look_better() -> None:
    found = contender("more", ("pgd", share(50)), ("square", share(40, 40)))  # on the first 40 of 100 examples
    (board,) = stand(*(contender(f"m{i}", ("pgd", share(60))) for i in range(2)), found)
    assert {one.worst.model_id: one.overall for one in board.places} == {"m0": None, "m1": None, "more": 0.5}


def test_flags_stand_or_fall_by_all_attacks_of_a_model() -> None:
    standard = '{"queries":5000,"steps":100,"targets":9}'
    cleared = contender("cleared", ("pgd", share(90)), ("autoattack", share(89)), flags=("zero-gradients",))
    rows = (cleared.rows[0], make_row(**{**vars(cleared.rows[1]), "attack_options": standard}))
    cleared = Contender(rows=rows, outcomes=cleared.outcomes)
    others = [contender(f"m{i}", ("pgd", share(50 + i)), flags=("zero-gradients",) if i else ()) for i in range(2)]
    (board,) = stand(cleared, *others)
    assert [(one.worst.model_id, one.rank, one.flags) for one in board.places] == [
        ("cleared", 1, ()),
        ("m0", 2, ()),
        ("m1", 3, ("zero-gradients",)),
    ]


def test_profiles_seen_test_sets_balls_and_published_numbers_are_apart(tmp_path: Path) -> None:
    rows = (
        row("a", "pgd", 0.5),
        row("b", "pgd", 0.6),
        row("radius", "pgd", 0.4, epsilon=0.2),
        row("seen", "pgd", 0.99, trained_on="train+test"),
        row("paper", "pgd", 0.9, profile="paper"),
        row("failed", "pgd", 0.9, status="failed", error="out of memory"),
        row("published", "pgd", 0.9, source="published", published_source="neurips2020", published_table="3"),
    )
    found = ranked_boards(Board(path=tmp_path, rows=rows))
    labels = {
        title: [[label.split("\n")[0] for label in one.labels] for one in boards] for title, boards in found.items()
    }
    assert [*labels.items()] == [
        ("Quick profile", [["b", "a"], ["radius"]]),
        ("Paper profile", [["paper"]]),
        ("Quick profile: networks that saw the TEST SET", [["seen"]]),
    ]


def test_model_that_was_trained_elsewhere_is_not_said_to_have_seen_the_test_set(tmp_path: Path) -> None:
    own = row("own", "pgd", 0.5, profile="own", defense=None, defense_options=None, trained_on=None)
    assert [*ranked_boards(Board(path=tmp_path, rows=(own,)))] == ["Own profile"]


def test_lines_show_certified_bounds_and_challenges_only_where_there_are_any(tmp_path: Path) -> None:
    known = {"extra": {CHALLENGED: 0.4}, "certified_test_accuracy": 0.25}
    rows = (row("at", "pgd", 0.5, **known), row("gr", "pgd", 0.6, flags=("loud",)))
    first, second = (line.split("</tr>")[0] for line in board_lines(site(tmp_path / "both", *rows)))
    assert "challenged: at most 40.00%" in first
    assert first.endswith('<td class="number">25.00</td><td class="number">-</td>')
    assert 'class="flagged"' in second
    assert "flag: loud" in second
    assert "challenged" not in second
    assert "Certified" not in (site(tmp_path / "one", rows[1]) / "index.html").read_text()


def board_lines(folder: Path) -> list[str]:
    """The lines of the first ranked board of a suite's page."""
    return (folder / "index.html").read_text().split("<tbody>")[1].split("</tbody>")[0].split("<tr")[1:]


def test_regressions_rank_by_their_largest_error() -> None:
    mse = {"dataset": "staircase", "adv_test_accuracy": None, "adv_test_accuracy_low": None}
    given = {**mse, "adv_test_accuracy_high": None}
    rows = [
        make_row(cell_id=f"{name}-{a}", model_id=name, attack=a, adv_test_mse=error, **given)
        for name, errors in {"a": (0.1, 0.5), "b": (0.3, 0.2)}.items()
        for a, error in zip(("exact", "pgd"), errors)
    ]
    (board,) = standings(rows, ())
    assert [(one.worst.model_id, one.value, one.worst.attack) for one in board.places] == [
        ("b", 0.3, "exact"),
        ("a", 0.5, "pgd"),
    ]
