"""The identity columns by what they say: every key that groups rows, matches them or tells them apart is built from these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchbench.cell.model import to_json
from benchbench.leaderboard.names import FIRST_REVISION, component_label, method_code, number, parse_options, printable
from benchbench.records import Row

PROTOCOL = ("suite", "profile", "protocol")
DATA = ("dataset", "dataset_digest", "trained_on", "n_train")
NETWORK = ("architecture", "architecture_options", "augmentation", "dropout")
DEFENSE = ("defense", "defense_options", "train_norm", "train_epsilon")  # the training threat belongs to the method
TRAINING = ("epochs", "train_precision")
THREAT = ("norm", "epsilon")
ATTACK = ("attack", "attack_options")
READING = ("n_test", "n_train_evaluated", "checkpoint_selection", "precision")
SEED = ("seed",)

COLUMNS = (*THREAT, *DATA, *NETWORK, *DEFENSE, *TRAINING, *PROTOCOL, *READING, *ATTACK, *SEED)
"""All of them, each once."""

MODEL = (*THREAT, *DATA, *NETWORK, *DEFENSE, *TRAINING, *PROTOCOL, *READING, *SEED)
"""What tells models apart that were evaluated under several attacks."""

BALL = ("profile", "protocol", "dataset", "dataset_digest", "trained_on", *THREAT, "checkpoint_selection", "precision")
"""Equal for models whose outcomes on the same test examples may be compared: the same data, the same ball."""

ATTACKED = ("suite", *BALL, "model_id")
"""Equal for rows of one model under several attacks in one ball."""

SETTING = (*PROTOCOL, *DATA, *NETWORK, *TRAINING, *THREAT, *ATTACK, *READING)
"""Equal for rows that stand in one group of a table: all but the training method and the seed."""

RUNS = tuple(name for name in COLUMNS if name not in SEED)
"""Equal for rows that are runs of one configuration under several seeds."""

_SHOWN_DIGITS = 12  # of a digest


def values(row: Row, columns: Sequence[str]) -> tuple[object, ...]:
    """The values of some columns, as a key."""
    return tuple(getattr(row, name) for name in columns)


def training(row: Row) -> str:
    """What the row's configuration says about training, as JSON: also what has no column, like revisions.

    Seed and threat are left out: they have columns, and older configurations state a threat that the method does not use.
    """
    return to_json({name: value for name, value in _training(row).items() if name not in ("seed", "threat")})


def recipe(row: Row) -> str:
    """The training recipe as JSON: learning rate, batch size and the like have no column."""
    return to_json(_training(row).get("recipe", {}))


def tell_apart(labels: Sequence[str], rows: Sequence[Row], columns: Sequence[str] = COLUMNS) -> list[str]:
    """The labels; where several are equal, each also shows the identity columns, and the code, in which their rows differ.

    Args:
        labels: one per row.
        rows: what the labels stand for.
        columns: which columns may be shown. Rows that differ in none of them show their cell.

    Returns:
        Labels in the order given, equal only for rows of one cell.
    """
    places: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    extended = list(labels)
    for alike in places.values():
        differing = _differing([rows[place] for place in alike], columns)
        for place in alike:
            extended[place] = ", ".join([extended[place], *(_shown(rows[place], name) for name in differing)])
        if len({method_code(rows[place]) for place in alike}) > 1:
            for place in alike:
                extended[place] += f", {method_code(rows[place]) or FIRST_REVISION}"
    counts = Counter(extended)
    return [f"{label}, cell {row.cell_id}" if counts[label] > 1 else label for label, row in zip(extended, rows)]


def _differing(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """The columns in which rows differ; not the training threat where each row has it as the attack's, or has none."""
    differing = [name for name in columns if len({getattr(row, name) for row in rows}) > 1]
    implied = {
        f"train_{name}"
        for name in THREAT
        if all(getattr(row, f"train_{name}") in (getattr(row, name), "", None) for row in rows)
    }
    return [name for name in differing if name not in implied]


def _training(row: Row) -> dict[str, object]:
    found = parse_options(row.configuration).get("training")
    return found if isinstance(found, dict) else {}


def _shown(row: Row, name: str) -> str:
    value = getattr(row, name)
    if name.endswith("_options"):
        return component_label(name.replace("_", " "), parse_options(value))
    if name.endswith("_digest"):
        return f"{name.replace('_', ' ')} {printable(value[:_SHOWN_DIGITS])}"
    return f"{name.replace('_', ' ')} {printable(number(value))}"
