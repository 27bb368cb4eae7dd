"""Identity columns, by meaning: every key that groups, matches or separates rows uses them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from benchbench.cell.filters import parse_options
from benchbench.cell.model import to_json
from benchbench.escaping import printable
from benchbench.leaderboard import names
from benchbench.records import Row, Rows

_T = TypeVar("_T")
_K = TypeVar("_K", bound=Hashable)

PROTOCOL = ("suite", "profile", "protocol")
DATA = ("dataset", "dataset_digest", "trained_on", "n_train", "n_validation")
NETWORK = ("architecture", "architecture_options", "augmentation", "dropout")
DEFENSE = ("defense", "defense_options", "n_extra", "train_norm", "train_epsilon")  # the method's, its threat and data
TRAINING = ("epochs", "train_precision", "weight_averaging")
THREAT = ("norm", "epsilon")
ATTACK = ("attack", "attack_options")
READING = ("n_test", "n_train_evaluated", "checkpoint_selection", "precision")
SEED = ("seed",)

TRAINED = (*DATA, *NETWORK, *DEFENSE, *TRAINING, *PROTOCOL)
"""Equal for models of one configuration that were trained under several seeds."""

COLUMNS = (*THREAT, *TRAINED, *READING, *ATTACK, *SEED)
"""All of them, each once."""

METHOD = (*THREAT, *TRAINED, *READING)
"""Tell apart methods whose models were evaluated under several attacks and seeds."""

MODEL = (*METHOD, *SEED)
"""Tell apart models that were evaluated under several attacks."""

BALL = ("profile", "protocol", "dataset", "dataset_digest", "trained_on", *THREAT, "precision")
"""Equal for models with comparable outcomes on the same test examples, in the same ball."""

ATTACKED = ("suite", *BALL, "model_id")
"""Equal for rows of one model under several attacks in one ball."""

SETTING = (*PROTOCOL, *DATA, *NETWORK, *TRAINING, *THREAT, *ATTACK, *READING)
"""Equal for rows of one group of a table: all columns but the training method and the seed."""

RUNS = tuple(name for name in COLUMNS if name not in SEED)
"""Equal for rows that are runs of one configuration under several seeds."""

_SHOWN_DIGITS = 12  # of a digest


def grouped(items: Iterable[_T], key: Callable[[_T], _K]) -> dict[_K, list[_T]]:
    """Items by a key, keys and items in the order of their first appearance."""
    groups: dict[_K, list[_T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def values(row: Row, columns: Sequence[str]) -> tuple[object, ...]:
    """The values of some columns, as a key."""
    return tuple(getattr(row, name) for name in columns)


def by_seed(rows: Iterable[Row]) -> list[list[Row]]:
    """Groups of rows that differ in nothing but the seed."""
    return list(grouped(rows, lambda row: (*values(row, RUNS), training(row))).values())


def training(row: Row) -> str:
    """Training in the row's configuration, as JSON, without seed and threat, which have columns."""
    return to_json(
        {name: one for name, one in names.configured(row, "training").items() if name not in ("seed", "threat")}
    )


def recipe(row: Row) -> str:
    """The training recipe as JSON: learning rate, batch size and the like have no column."""
    return to_json(names.configured(row, "training", "recipe"))


def tell_apart(labels: Sequence[str], rows: Sequence[Row], columns: Sequence[str] = COLUMNS) -> list[str]:
    """Labels; equal ones get the columns in which their rows differ, or else their cells.

    Where the method is one of the columns, they get its code, too, if that differs.
    """
    extended = list(labels)
    for alike in grouped(range(len(labels)), lambda place: labels[place]).values():
        differing = _differing([rows[place] for place in alike], columns)
        codes = {names.code_label(rows[place].configuration) for place in alike} if "defense" in columns else set()
        for place in alike:
            code = [names.code_label(rows[place].configuration)] if len(codes) > 1 else []
            extended[place] = ", ".join([labels[place], *(_shown(rows[place], name) for name in differing), *code])
    counts = Counter(extended)
    return [f"{label}, cell {row.cell_id}" if counts[label] > 1 else label for label, row in zip(extended, rows)]


def distinct_labels(rows: Iterable[Row]) -> dict[str, str]:
    """Methods of a table's group by cell id; equal ones of one source are extended to differ."""
    listed = Rows.of(rows)
    return dict(zip(listed.values("cell_id"), labels_within(listed, [0] * len(listed))))


def labels_within(rows: Rows, group: Sequence[int]) -> list[str]:
    """`distinct_labels` of rows in several groups, which are numbered, in the order of the rows."""
    found, methods = rows.distinct("defense", "defense_options", "defense_label", "card")
    called, sources = [names.method_label(*method) for method in found], rows.values("source")
    labels, places = [called[method] for method in methods.tolist()], list(range(len(rows)))
    for columns, describe in _DISTINCTIONS:
        alike = grouped(places, lambda place: (group[place], sources[place], labels[place])).values()
        repeated = [several for several in alike if len(several) > 1]
        places = [place for several in repeated for place in several]
        if not places:
            break
        found, described = rows.take(places).distinct(*columns)
        texts = [describe(*values) for values in found]
        shown = dict(zip(places, (texts[one] for one in described.tolist())))
        for several in repeated:
            if len({shown[place] for place in several}) > 1:
                for place in several:
                    labels[place] = f"{labels[place]}, {shown[place]}"
    return labels


_DISTINCTIONS: tuple[tuple[tuple[str, ...], Callable[..., str]], ...] = (
    (("train_norm", "train_epsilon"), names.trained_against),
    (("attack", "attack_options"), lambda attack, options: names.attack_label(attack, parse_options(options))),
    (("seed",), lambda seed: f"seed {seed}"),
    (("defense_options",), lambda options: names.component_label("options", parse_options(options or ""))),
    (("configuration",), names.code_label),
    (("experiment",), lambda experiment: f"experiment {printable(experiment)}"),
    (("cell_id",), lambda cell_id: f"cell {cell_id[:8]}"),
)


def _differing(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """Columns that differ; not the training threat if each row has the attack's, or none."""
    differing = [name for name in columns if len({getattr(row, name) for row in rows}) > 1]
    implied = {
        f"train_{name}"
        for name in THREAT
        if all(getattr(row, f"train_{name}") in (getattr(row, name), "", None) for row in rows)
    }
    return [name for name in differing if name not in implied]


def _shown(row: Row, name: str) -> str:
    value = getattr(row, name)
    if value is None:
        return f"{name.replace('_', ' ')} unknown"
    if name.endswith("_options"):
        return names.component_label(name.replace("_", " "), parse_options(value))
    if name.endswith("_digest"):
        return f"{name.replace('_', ' ')} {printable(value[:_SHOWN_DIGITS])}"
    return f"{name.replace('_', ' ')} {printable(names.number(value))}"
