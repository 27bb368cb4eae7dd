"""How methods and settings are called in tables, and in which order the papers list them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, TypeGuard

from benchbench.cell.filters import parse_options
from benchbench.cell.model import Cell, Component, canonical
from benchbench.contract.offers import Offer
from benchbench.errors import counted
from benchbench.escaping import printable
from benchbench.records import Row
from benchbench.records.cards import card_facts

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
PAPERS = {"neurips2020": "NeurIPS 2020", "arxiv-v1": "arXiv v1"}


def defense_label(row: Row) -> str:
    """Method with the options that the papers vary, other methods with all: ``TRADES (beta=6)``.

    A model that was trained elsewhere is called by the title on its card.
    """
    return method_label(row.defense, row.defense_options, row.defense_label or "", row.card)


@cache
def method_label(defense: str | None, options: str | None, label: str = "", card: str | None = None) -> str:
    """`defense_label` of a method's name, the JSON of its options, its offer's name, the card."""
    if defense is None:
        return printable(card_facts(card).get("title", "trained elsewhere"))
    if label:
        return printable(label)
    return component_label(_DEFENSES.get(defense, defense), _varied(defense, parse_options(options or "")))


def offered_label(offer: Offer, options: Mapping[str, object]) -> str:
    """A method as its offer calls it, ``TRADES-EMA (decay=0.99)``; empty without a label."""
    if not offer.label and offer.shown is None:
        return ""
    names = options if offer.shown is None else offer.shown
    return component_label(offer.label or offer.name, {name: options[name] for name in names if name in options})


def short_label(defense: str, options: Mapping[str, object]) -> str:
    """A training method by registered name, as in suites and ``--only``: ``trades (beta=6)``."""
    return component_label(defense, _varied(defense, options))


def attack_label(attack: str, options: Mapping[str, object]) -> str:
    """An attack by registered name, with one of several variants: ``mt-20 (variant=released)``."""
    return component_label(attack, _variant(options))


def defense_order(row: Row) -> tuple[object, ...]:
    """Sort key: Natural, GR, LLR, AT, RST (lambda), TRADES (beta), distance, others by name."""
    return method_order(row.defense, row.defense_options)


@cache
def method_order(defense: str | None, options: str | None) -> tuple[object, ...]:
    """`defense_order` of a method's name and the JSON of its options; unknown ones come last."""
    if defense not in _DEFENSES:
        return (len(_PAPER_ORDER) + (defense is None), defense or "", 0.0, options or "")
    option, _ = _STRENGTHS.get(defense, ("", ""))
    strength = parse_options(options or "").get(option, 0.0)
    number = float(strength) if isinstance(strength, (int, float)) else 0.0
    return (_PAPER_ORDER.index(defense), "", number, options or "")


def trained_in(row: Row) -> str:
    """``trained in bf16``; empty where training did not round."""
    return f"trained in {row.train_rounding}" if row.train_rounding else ""


def trained_against(norm: str, epsilon: float | None) -> str:
    """``trained at linf 0.1``; ``trained without attack`` where the method uses no threat."""
    return "trained without attack" if epsilon is None else f"trained at {norm} {number(epsilon)}"


def searched_in(row: Row) -> str:
    """``searched in bf16``; empty where the attack's search did not round."""
    return f"searched in {row.rounding}" if row.rounding else ""


def network_label(row: Row) -> str:
    """``wrn (depth=40, width=10)``: the architecture without its dropout, which has a column."""
    return _network(row.architecture, row.architecture_options)


@cache
def _network(architecture: str, options: str) -> str:
    kept = {name: value for name, value in parse_options(options).items() if name != "dropout"}
    return component_label(architecture, kept)


def dropout_label(row: Row) -> str:
    """``dropout 0.5``; empty without dropout."""
    return f"dropout {number(row.dropout)}" if row.dropout else ""


def augmentation_label(row: Row) -> str:
    """``crop4+flip``; empty if there was none, or it is unknown."""
    return row.augmentation if row.augmentation not in (None, "none") else ""


def seed_label(row: Row) -> str:
    """``seed 0``; of a model that was trained elsewhere the beginning of its weights' digest."""
    return f"seed {row.seed}" if row.seed is not None else weights_label(row.configuration)


def weights_label(configuration: str) -> str:
    """``weights 01234567`` of a model that was trained elsewhere; empty for others."""
    weights = str(_part(configuration, "training").get("weights", ""))
    return printable(f"weights {weights[:8]}") if weights else ""


def training_size(row: Row) -> str:
    """``60,000 training examples``; empty if it is unknown."""
    return "" if row.n_train is None else counted(row.n_train, "training example")


def row_label(row: Row) -> str:
    """``mnist cnn2, TRADES (beta=6), pgd-10, linf 0.1, quick, seed 0``: tells rows apart."""
    attack = attack_label(row.attack, parse_options(row.attack_options))
    network = " ".join(part for part in (row.dataset, network_label(row), dropout_label(row)) if part)
    threat = f"{row.norm} {number(row.epsilon)}"
    return printable(joined(network, defense_label(row), attack, threat, row.profile, seed_label(row)))


def setting_label(row: Row, *, every_option: bool) -> str:
    """One line of what a group shares: data, architecture, attack, threat, profile and sizes."""
    attack = parse_options(row.attack_options)
    text = joined(
        dataset_label(row, every_option=every_option),
        *_network_parts(row),
        component_label(row.attack, attack) if every_option else attack_label(row.attack, attack),
        searched_in(row),
        f"{row.norm} epsilon {number(row.epsilon)}",
        f"{row.profile} profile",
        training_size(row) + " (TEST SET INCLUDED)" * row.saw_test_set,
        counted(row.n_test, "test example"),
        counted(row.epochs, "epoch") if row.epochs else "",
        *_harvest_parts(row),
        trained_in(row),
    )
    return printable(text)


def _harvest_parts(row: Row) -> tuple[str, ...]:
    """Which weights became the model, where it was not the last ones; and what was held out."""
    return (
        f"{row.n_validation:,} held out" if row.n_validation else "",
        "" if row.weight_averaging in ("none", None) else f"{row.weight_averaging} weights",
        "" if row.checkpoint_selection in ("last", None) else f"{row.checkpoint_selection} checkpoint",
    )


def published_label(row: Row) -> str:
    """One line with a published setting; its sizes and budgets follow from the protocol."""
    seen = "TEST SET INCLUDED in training" if row.saw_test_set else ""
    threat = f"{row.norm} epsilon {number(row.epsilon)}"
    return printable(joined(row.dataset, *_network_parts(row), row.attack, threat, seen))


def _network_parts(row: Row) -> tuple[str, ...]:
    augmentation = augmentation_label(row)
    return network_label(row), f"augmentation {augmentation}" if augmentation else "", dropout_label(row)


def paper_label(source: str) -> str:
    """``NeurIPS 2020`` for ``neurips2020``."""
    return PAPERS.get(source, printable(source))


def dataset_label(row: Row, *, every_option: bool = False) -> str:
    """A dataset by name; with all options if made from another one, which the name omits."""
    options = configured(row, "training", "dataset", "options")
    with_options = every_option or any(map(_is_component, options.values()))
    return component_label(row.dataset, options) if with_options else row.dataset


def code_label(configuration: str) -> str:
    """Version of a method's code: ``revision 2``, ``sources 01234567``; default ``revision 1``.

    Of a model that was trained elsewhere its weights.
    """
    if weights := weights_label(configuration):
        return weights
    defense = _part(configuration, "training", "defense")
    revision, sources = defense.get("revision", 1), str(defense.get("sources", ""))[:8]
    stated = joined(f"revision {revision}" if revision != 1 else "", f"sources {sources}" if sources else "")
    return printable(stated or "revision 1")


def configured(row: Row, *path: str) -> dict[str, object]:
    """A part of the row's configuration; empty where it is missing or damaged."""
    return _part(row.configuration, *path)


def _part(configuration: str, *path: str) -> dict[str, object]:
    found: object = _configuration(configuration)
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


_configuration = lru_cache(maxsize=1024)(parse_options)  # a page asks for several parts of each row


def component_label(name: str, options: Mapping[str, object]) -> str:
    """``name (option=value, ...)``, or just the name."""
    listed = ", ".join(f"{option}={number(value)}" for option, value in sorted(options.items()))
    return printable(f"{name} ({listed})" if listed else name)


def number(value: object) -> str:
    """A value as people write it: ``6`` (6.0), ``0.333`` (1/3); a component: name and options."""
    if isinstance(value, Component):
        value = canonical(value)
    if _is_component(value):  # inner components by name only: a stranger's leaderboard may nest them without end
        inner = {name: one["name"] if _is_component(one) else one for name, one in value["options"].items()}
        return component_label(str(value["name"]), inner)
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:g}"
    return str(list(value) if isinstance(value, tuple) else value)  # of a cell: as its row has it


def joined(*parts: str) -> str:
    """The parts that are not empty, separated by commas."""
    return ", ".join(part for part in parts if part)


def contains(options: str | None, stated: str | None) -> bool:
    """Whether a measured row's options have every option and value that a published row states."""
    known, wanted = parse_options(options or ""), parse_options(stated or "")
    return all(name in known and known[name] == value for name, value in wanted.items())


def _is_component(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether the value of an option is a component in its JSON form."""
    return isinstance(value, Mapping) and "name" in value and isinstance(value.get("options"), Mapping)


def _varied(defense: str, options: Mapping[str, object]) -> Mapping[str, object]:
    """The options that the papers vary; all options of other methods."""
    if defense not in _DEFENSES:
        return options
    option, shown_as = _STRENGTHS.get(defense, ("", ""))
    strength = {shown_as: options[option]} if option in options else {}
    return strength | _variant(options)


def _variant(options: Mapping[str, object]) -> dict[str, object]:
    return {_VARIANT: options[_VARIANT]} if _VARIANT in options else {}


def describe_cell(cell: Cell) -> str:
    """A cell in a few words: ``mnist cnn2 trades (beta=6), pgd-10, linf 0.1, seed 0``."""
    attack, threat = cell.evaluation.attack, cell.evaluation.threat
    seed = "" if cell.training.weights else f"seed {cell.training.seed}"
    ball = ball_label(threat.norm, threat.epsilon)
    return joined(describe_model(cell), attack_label(attack.name, attack.options), ball, seed)


def ball_label(norm: object, epsilon: object) -> str:
    """The ball of an evaluation: ``linf 0.1``."""
    return f"{norm} {number(epsilon)}"


def describe_model(cell: Cell) -> str:
    """The model of a cell in a few words, for instance ``mnist cnn2 trades (beta=6)``."""
    training = cell.training
    defense, network = training.defense, component_label(training.architecture.name, training.architecture.options)
    method = f"weights {training.weights[:8]}" if training.weights else short_label(defense.name, defense.options)
    return f"{training.dataset.name} {network} {method}"
