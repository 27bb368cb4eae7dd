"""The numbers that the papers publish, as leaderboard rows.

The tables are those of "A Closer Look at Accuracy vs. Robustness" (Yang et al., NeurIPS 2020; ``neurips2020``) and of its
first version, "Adversarial Robustness Through Local Lipschitzness" (``arxiv-v1``), transcribed into CSV files that ship with
the suite.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from benchbench.arguments import checked
from benchbench.cell.model import Columns, digest, to_json
from benchbench.errors import DataError
from benchbench.leaderboard.files import write_leaderboard
from benchbench.leaderboard.separations import MEASURES
from benchbench.records import Row
from benchbench.records.schema import trained_under

SUITE = "closer-look"
_PROTOCOL = "closer-look-1"
_FOLDER = "published"


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """Constants of a dataset (protocol, "Threat models and data" and "Training recipes")."""

    dataset: str
    epsilon: float
    n_train: int
    n_test: int
    epochs: int


_SETTINGS = {
    "MNIST": _Setting(dataset="mnist", epsilon=0.1, n_train=60_000, n_test=10_000, epochs=160),
    "SVHN": _Setting(dataset="svhn", epsilon=0.031, n_train=73_257, n_test=26_032, epochs=60),
    "CIFAR-10": _Setting(dataset="cifar-10", epsilon=0.031, n_train=50_000, n_test=10_000, epochs=120),
    "Restricted ImageNet": _Setting(
        dataset="restricted-imagenet", epsilon=0.005, n_train=257_748, n_test=10_150, epochs=70
    ),
}
_GAPS_TURNED = "8"  # the staircase table that prints gaps as train minus test; the leaderboard has test minus train
_STAIRCASE_TEST_SIZES = {40: 10_000, 30_000: 15_000}
_ARCHITECTURES: dict[str, tuple[str, dict[str, object]]] = {
    "CNN1": ("cnn1", {}),
    "CNN2": ("cnn2", {}),
    "WRN-40-10": ("wrn", {"depth": 40, "width": 10}),
    "ResNet50": ("resnet50", {}),
}
DATASET_NAMES = {setting.dataset: name for name, setting in _SETTINGS.items()}  # registered to printed
ARCHITECTURE_NAMES = {registered: name for name, (registered, _) in _ARCHITECTURES.items()}
_AUGMENTATIONS = {"none": "none", "crop4+flip": "crop4+flip", "resize72+crop64": "crop64"}
_ATTACKS = {"pgd10": "pgd-10", "mt20": "mt-20"}
_OPTIONS = {"lambda": "lam", "beta": "beta"}
_NAMED_MODEL = ("suite", "profile", "protocol", "experiment", "dataset", "architecture", "defense", "published_source")
_NAMING = (*_NAMED_MODEL, "norm", "epsilon", "attack", "published_table")
_UNSTATED = ("seed", "n_train", "n_train_evaluated", "n_test", "epochs")
_UNSTATED_AS_ZERO = ("seed", "n_train", "epochs")  # in the digests of papers' rows, whose ids must last
_PRINTED = {  # percentages
    "train_accuracy": "train_acc",
    "test_accuracy": "test_acc",
    "adv_test_accuracy": "adv_test_acc",
    "gap": "gap",
    "adv_gap": "adv_gap",
}


@dataclass(frozen=True, kw_only=True)
class PublishedSeparation:
    """A line of Table 8: L-inf separation, pixels / 255; `labels`: ``"original"``, ``"random"``."""

    dataset: str
    epsilon: float
    labels: str
    train_train_min: float
    train_train_mean: float
    test_train_min: float
    test_train_mean: float


def unshipped(rows: Iterable[Row]) -> list[Row]:
    """The published rows that are not those of `published_rows`: made or changed by others."""
    printed = [row for row in rows if row.source == "published"]
    known = {row.cell_id: row for suite in {row.suite for row in printed} for row in published_rows(suite)}
    return [row for row in printed if known.get(row.cell_id) != row]


@functools.cache
def published_rows(suite: str = SUITE) -> tuple[Row, ...]:
    """Every published model as a row, accuracies as fractions; what the papers omit is absent."""
    if suite != SUITE:
        return ()
    return (
        *(_classification_row(record) for record in read_published("published_results.csv")),
        *(_staircase_row(record) for record in read_published("published_staircase.csv")),
        *(_proof_of_concept_row(record) for record in read_published("published_proof_of_concept.csv")),
    )


@checked
def write_published(path: Path | str, records: Iterable[Mapping[str, object]]) -> int:
    """Write results that others published as a leaderboard; return the number of rows.

    Args:
        path: the Parquet file.
        records: the columns of each row by name, as in docs/leaderboard-format.md: those of `_NAMING`, and what was published.

    Raises:
        DataError: a column is unknown, missing or has an impossible value, or a result is there twice.
        StorageError: the file cannot be written.
    """
    return len(write_leaderboard(Path(path), [_foreign_row(record) for record in records]))


def _foreign_row(record: Mapping[str, object]) -> Row:
    unstated = {one.name: None if str(one.type).endswith("None") else 0 for one in fields(Row) if one.name in _UNSTATED}
    columns = {"cell_id": _NAMING, "model_id": _NAMED_MODEL}
    ids: Columns = {one: f"published-{digest([record.get(name) for name in names])}" for one, names in columns.items()}
    try:
        stated: Columns = {**unstated, **record}
        return Row(source="published", **ids, **stated)
    except TypeError as error:
        raise DataError(f"a published result has other columns than a leaderboard: {error}") from error


@functools.cache
def published_separation() -> tuple[PublishedSeparation, ...]:
    """Table 8 of the NeurIPS paper, which includes the numbers of its Table 1."""
    return tuple(
        PublishedSeparation(
            dataset=_SETTINGS[record["dataset"]].dataset,
            labels=record["labels"],
            **{field: float(record[field]) for field in ("epsilon", *MEASURES)},
        )
        for record in read_published("published_separation.csv")
    )


def read_published(name: str) -> list[dict[str, str]]:
    """The records of one of the CSV files that ship with the suite."""
    text = (files("benchbench.builtin.suites") / _FOLDER / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _classification_row(record: Mapping[str, str]) -> Row:
    model = _classification_model(record, dropout=float(record["dropout"]))
    evaluation = {"attack": _ATTACKS[record["attack"]], "n_test": _SETTINGS[record["dataset"]].n_test}
    return _row(record, model, evaluation, _measures(record))


def _proof_of_concept_row(record: Mapping[str, str]) -> Row:
    setting = _SETTINGS[record["dataset"]]
    model = {
        **_classification_model(record, dropout=0.0),
        "augmentation": "none",  # the paper mentions none, and the protocol has none
        "trained_on": "train+test",
        "n_train": setting.n_train + setting.n_test,
        "n_train_evaluated": setting.n_train,
        "epochs": int(record["epochs"]),
        "epsilon": float(record["epsilon"]),
    }
    recipe = {name: record[name] for name in ("optimizer", "batch_size", "epochs", "learning_rate")}
    return _row(record, model, {"attack": "pgd-10", "n_test": setting.n_test}, _measures(record), recipe)


def _measures(record: Mapping[str, str]) -> dict[str, float | None]:
    percents = {column: _value(record.get(printed, "")) for column, printed in _PRINTED.items()}
    # rounded so that 97.21 becomes the float 0.9721, not its neighbour
    shares = {column: None if value is None else round(value / 100, 6) for column, value in percents.items()}
    return {**shares, "test_lipschitz": _value(record.get("test_lipschitz", ""))}


def _staircase_row(record: Mapping[str, str]) -> Row:
    n_train = int(record["n_train"])
    model = {
        "dataset": "staircase",
        "architecture": "cubic-spline",
        "epsilon": 1 / 3,
        "n_train": n_train,
        "epochs": 0,
        "augmentation": "none",
        **_defense(record),
    }
    names = ("train_mse", "test_mse", "adv_test_mse", "test_lipschitz")
    sign = -1.0 if record["table"] == _GAPS_TURNED else 1.0
    gaps = {name: sign * float(record[name]) + 0.0 for name in ("gap", "adv_gap")}  # + 0.0: no negative zero
    evaluation = {"attack": "exact", "n_test": _STAIRCASE_TEST_SIZES[n_train]}
    return _row(record, model, evaluation, {name: _value(record[name]) for name in names} | gaps)


def _classification_model(record: Mapping[str, str], *, dropout: float) -> dict[str, object]:
    setting = _SETTINGS[record["dataset"]]
    architecture, options = _ARCHITECTURES[record["architecture"]]
    if architecture == "wrn":
        options = {**options, "dropout": dropout}
    augmented = {"restricted-imagenet": "resize72+crop64", "cifar-10": "crop4+flip"}.get(setting.dataset, "none")
    return {
        "dataset": setting.dataset,
        "architecture": architecture,
        "architecture_options": to_json(options),
        "augmentation": _AUGMENTATIONS[record.get("augmentation") or augmented],
        "dropout": dropout,
        "epsilon": setting.epsilon,
        "n_train": setting.n_train,
        "epochs": setting.epochs,
        **_defense(record),
    }


def _defense(record: Mapping[str, str]) -> dict[str, object]:
    name, _, value = record["defense_params"].partition("=")
    options = {_OPTIONS[name]: float(value)} if name else {}
    return {"defense": record["defense"].lower(), "defense_options": to_json(options)}


def _row(
    record: Mapping[str, str],
    model: Mapping[str, object],
    evaluation: Mapping[str, object],
    measures: Mapping[str, float | None],
    configuration: Mapping[str, object] = MappingProxyType({}),
) -> Row:
    source, table = record["source"], record["table"]
    identity: Columns = {
        "suite": SUITE,
        "profile": "paper",
        "protocol": _PROTOCOL,
        "experiment": f"{source}-table-{table}",
        "source": "published",
        "norm": "linf",
        "seed": 0,
        "n_train_evaluated": model["n_train"],
        **model,
        **evaluation,
    }
    columns: Columns = {
        **identity,
        **{name: identity[name] or None for name in _UNSTATED_AS_ZERO},
        **trained_under(identity["defense"], identity["norm"], identity["epsilon"]),
        **measures,
        "cell_id": f"published-{digest(identity)}",
        "model_id": f"published-{digest([source, model])}",
        "configuration": to_json(dict(configuration)),
        "published_source": source,
        "published_table": table,
    }
    return Row(**columns)


def _value(text: str) -> float | None:
    return float(text) if text else None
