"""How methods and settings are called in tables, and in which order the papers list them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypedDict, TypeGuard

from benchbench.cell.model import Component, canonical
from benchbench.records import Row

_DEFENSES = {
    "natural": "Natural",
    "gr": "GR",
    "llr": "LLR",
    "at": "AT",
    "rst": "RST",
    "trades": "TRADES",
    "distance": "Distance",
}
_PAPER_ORDER = tuple(_DEFENSES)
_STRENGTHS = {"rst": ("lam", "lambda"), "trades": ("beta", "beta")}
_VARIANT = "variant"  # which reading of the paper a component follows; never left out of a label
_PAPERS = {"neurips2020": "NeurIPS 2020", "arxiv-v1": "arXiv v1"}


def defense_label(row: Row) -> str:
    """Display name of a row's training method: ``TRADES (beta=6)``, ``AT``, ``mart (beta=5)``.

    For the papers' methods only what the papers vary is shown; for others every option.
    """
    return component_label(
        _DEFENSES.get(row.defense, row.defense), _varied(row.defense, parse_options(row.defense_options))
    )


def short_label(defense: str, options: Mapping[str, object]) -> str:
    """A training method by its registered name, as suites and ``--only`` write it: ``trades (beta=6)``."""
    return component_label(defense, _varied(defense, options))


def attack_label(attack: str, options: Mapping[str, object]) -> str:
    """An attack by its registered name, and its variant where it has several: ``mt-20 (variant=released)``."""
    return component_label(attack, _variant(options))


def distinct_labels(rows: Sequence[Row]) -> dict[str, str]:
    """Labels by cell id; rows of one source that would be called the same also show attack, seed, options, code, experiment
    or cell.

    Args:
        rows: of one group of a table.
    """
    labels = {row.cell_id: defense_label(row) for row in rows}
    for distinction in (_attack, _seed, _every_option, _code, _experiment, _cell):
        alike: dict[tuple[str, str], set[str]] = {}
        for row in rows:
            alike.setdefault((row.source, labels[row.cell_id]), set()).add(distinction(row))
        for row, label in [(row, labels[row.cell_id]) for row in rows]:
            if len(alike[row.source, label]) > 1:
                labels[row.cell_id] = f"{label}, {distinction(row)}"
    return labels


def defense_order(row: Row) -> tuple[object, ...]:
    """Sort key: Natural, GR, LLR, AT, RST by lambda, TRADES by beta, the distance classifier, then others by name."""
    if row.defense not in _DEFENSES:
        return (len(_PAPER_ORDER), row.defense, 0.0, row.defense_options)
    option, _ = _STRENGTHS.get(row.defense, ("", ""))
    strength = parse_options(row.defense_options).get(option, 0.0)
    number = float(strength) if isinstance(strength, (int, float)) else 0.0
    return (_PAPER_ORDER.index(row.defense), "", number, row.defense_options)


def trained_in(row: Row) -> str:
    """``trained in bf16``; empty where training did not round."""
    return f"trained in {row.train_rounding}" if row.train_rounding else ""


def setting_label(row: Row, *, every_option: bool) -> str:
    """One line on what the rows of a group share: data, architecture, attack, threat, profile and sizes."""
    architecture, attack = parse_options(row.architecture_options), parse_options(row.attack_options)
    shape = {name: value for name, value in architecture.items() if name != "dropout"}
    parts = [
        dataset_label(row, every_option=every_option),
        component_label(row.architecture, shape),
        f"augmentation {row.augmentation}" if row.augmentation != "none" else "",
        f"dropout {number(row.dropout)}" if row.dropout else "",
        component_label(row.attack, attack) if every_option else attack_label(row.attack, attack),
        f"searched in {row.rounding}" if row.rounding else "",
        f"{row.norm} epsilon {number(row.epsilon)}",
        f"{row.profile} profile",
        f"{row.n_train:,} training examples" + (" (TEST SET INCLUDED)" if row.trained_on != "train" else ""),
        f"{row.n_test:,} test examples",
        f"{row.epochs} epochs" if row.epochs else "",
        trained_in(row),
    ]
    return printable(", ".join(part for part in parts if part))


def published_label(row: Row) -> str:
    """One line on the setting of published numbers, in which sizes and budgets go without saying."""
    shape = {name: value for name, value in parse_options(row.architecture_options).items() if name != "dropout"}
    parts = [
        row.dataset,
        component_label(row.architecture, shape),
        f"augmentation {row.augmentation}" if row.augmentation != "none" else "",
        f"dropout {number(row.dropout)}" if row.dropout else "",
        row.attack,
        f"{row.norm} epsilon {number(row.epsilon)}",
        "TEST SET INCLUDED in training" if row.trained_on != "train" else "",
    ]
    return printable(", ".join(part for part in parts if part))


def paper_label(source: str) -> str:
    """``NeurIPS 2020`` for ``neurips2020``."""
    return _PAPERS.get(source, printable(source))


def dataset_label(row: Row, *, every_option: bool = False) -> str:
    """A dataset by its name; one that is made from another with all options, for the name alone does not say from which."""
    found: object = parse_options(row.configuration)
    for key in ("training", "dataset", "options"):
        found = found.get(key) if isinstance(found, dict) else None
    options = found if isinstance(found, dict) else {}
    told = every_option or any(map(_is_component, options.values()))
    return component_label(row.dataset, options) if told else row.dataset


FIRST_REVISION = "revision 1"


def method_code(row: Row) -> str:
    """Which code a row's training method is of: ``revision 2``, ``sources 01234567``; empty for a first revision built in."""
    training = parse_options(row.configuration).get("training")
    found = training.get("defense") if isinstance(training, dict) else None
    defense = found if isinstance(found, dict) else {}
    revision, sources = defense.get("revision", 1), str(defense.get("sources", ""))[:8]
    parts = [f"revision {revision}" if revision != 1 else "", f"sources {sources}" if sources else ""]
    return printable(", ".join(part for part in parts if part))


def component_label(name: str, options: Mapping[str, object]) -> str:
    """``name (option=value, ...)``, or just the name."""
    listed = ", ".join(f"{option}={number(value)}" for option, value in sorted(options.items()))
    return printable(f"{name} ({listed})" if listed else name)


def parse_options(text: str) -> dict[str, object]:
    """Options of a component from their JSON; none where it is damaged."""
    try:
        options = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return options if isinstance(options, dict) else {}


def number(value: object) -> str:
    """A value as people write it: ``6`` for 6.0, ``0.333`` for 1/3; a component as name and options."""
    if isinstance(value, Component):
        value = canonical(value)
    if _is_component(value):  # those within it by name alone: a stranger's leaderboard may nest them without end
        inner = {name: one["name"] if _is_component(one) else one for name, one in value["options"].items()}
        return component_label(str(value["name"]), inner)
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:g}"
    return str(value)


def printable(text: str) -> str:
    """Text without control characters, which could steer a terminal or break a table's lines."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def contains(options: str, stated: str) -> bool:
    """Whether all options that a published row states have these values in a measured row's options."""
    there, wanted = parse_options(options), parse_options(stated)
    return all(name in there and there[name] == value for name, value in wanted.items())


class _Written(TypedDict):
    """A component in JSON."""

    name: str
    options: Mapping[str, object]


def _is_component(value: object) -> TypeGuard[_Written]:
    """Whether the value of an option is a component, as JSON has it."""
    return isinstance(value, Mapping) and "name" in value and isinstance(value.get("options"), Mapping)


def _varied(defense: str, options: Mapping[str, object]) -> Mapping[str, object]:
    """The options that the papers vary; of other methods all."""
    if defense not in _DEFENSES:
        return options
    option, shown_as = _STRENGTHS.get(defense, ("", ""))
    strength = {shown_as: options[option]} if option in options else {}
    return strength | _variant(options)


def _variant(options: Mapping[str, object]) -> dict[str, object]:
    return {_VARIANT: options[_VARIANT]} if _VARIANT in options else {}


def _attack(row: Row) -> str:
    return attack_label(row.attack, parse_options(row.attack_options))


def _seed(row: Row) -> str:
    return f"seed {row.seed}"


def _every_option(row: Row) -> str:
    return component_label("options", parse_options(row.defense_options))


def _code(row: Row) -> str:
    return method_code(row) or FIRST_REVISION


def _experiment(row: Row) -> str:
    return f"experiment {printable(row.experiment)}"


def _cell(row: Row) -> str:
    return f"cell {row.cell_id[:8]}"
