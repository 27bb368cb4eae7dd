"""Model cards: what a model's authors state about it, as JSON in a row's column ``card``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from benchbench.cell.filters import parse_options
from benchbench.cell.model import to_json
from benchbench.errors import DataError
from benchbench.records.row import Row

FACTS = ("title", "authors", "paper", "link", "extra_data", "licence")  # shown in this order, then claims, then others
CLAIMS = ("claimed_accuracy", "claimed_test_accuracy", "claimed_adv_test_accuracy")  # fractions
MOST_FACTS, LONGEST = 30, 1_000  # of a card; characters of a fact
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def card_text(facts: Mapping[str, object]) -> str:
    """The content of the column; DataError for facts that it cannot hold, all at once."""
    problems = [f"{len(facts)} facts, more than {MOST_FACTS}"] if len(facts) > MOST_FACTS else []
    problems += [problem for name, value in facts.items() if (problem := _problem(name, value))]
    if problems:
        hint = f"for instance {', '.join(FACTS)}: texts; {', '.join(CLAIMS)}: numbers from 0 to 1"
        raise DataError("the model card cannot be kept: " + "; ".join(problems), hint=hint)
    return to_json(facts)


def card_facts(text: str | None) -> dict[str, str]:
    """The facts of a card by name; those that a stranger's file may not hold are left out."""
    found = {name: value for name, value in parse_options(text or "").items() if not _problem(name, value)}
    ordered = [*(name for name in (*FACTS, *CLAIMS) if name in found), *found]
    return {name: _shown(name, found[name]) for name in list(dict.fromkeys(ordered))[:MOST_FACTS]}


def card_note(rows: Sequence[Row]) -> str:
    """The facts of a model's card in a line, beside what its rows found; empty without a card."""
    facts = (f"{name.replace('_', ' ')}: {fact}" for name, fact in card_facts(rows[0].card).items())
    found = (
        f"found: {row.adv_test_accuracy:.2%} under {row.attack}, {row.norm} {row.epsilon:.3g}"
        for row in rows
        if row.adv_test_accuracy is not None
    )
    return "; ".join([*facts, *found]) if rows[0].card else ""


def _problem(name: object, value: object) -> str:
    """Why a row cannot hold a fact; empty if it can."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"{name!r:.60} is no name of a fact, for instance extra_data"
    if name in CLAIMS and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1):
        return f"{name} is {value!r:.60}, expected a fraction from 0 to 1"
    if not all(isinstance(one, (str, bool, int, float)) for one in (value if isinstance(value, list) else [value])):
        return f"{name} is {value!r:.60}, expected a text, a number, or a list of texts"
    return f"{name} is longer than {LONGEST:,} characters" if len(str(value)) > LONGEST else ""


def _shown(name: str, value: object) -> str:
    if name in CLAIMS:
        return f"{value:.2%}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
