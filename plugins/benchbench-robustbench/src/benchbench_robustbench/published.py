"""RobustBench's ``model_info`` folder as published rows: one JSON file for each model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import benchbench
from benchbench.contract import DataError, Norm, OptionError, Threat

SUITE = "robustbench"
DATASETS = {"cifar10": ("cifar-10", 10_000), "cifar100": ("cifar-100", 10_000), "imagenet": ("imagenet", 5_000)}
NORMS: Mapping[str, Norm] = {"Linf": "linf", "L2": "l2"}
# Facts beside the measures, kept in the column `configuration` under the names that the files give them.
FACTS = ("name", "authors", "venue", "link", "additional_data", "number_forward_passes", "footnote", "unreliable")


def import_leaderboards(model_info: Path, board: Path) -> int:
    """Write RobustBench's entries to a leaderboard of benchbench; return their number.

    Args:
        model_info: RobustBench's folder of that name, with ``DATASET/THREAT/NAME.json`` below it.
        board: the Parquet file.

    Raises:
        DataError: a file is no entry, or there is none. Corruption leaderboards are left out: their numbers are averages over
            corruptions, and no norm bounds them.
    """
    rows = list(published_rows(model_info))
    if not rows:
        raise DataError(f"{model_info} holds no leaderboard", hint="expected files such as cifar10/Linf/NAME.json")
    return benchbench.write_published(board, rows)


def published_rows(model_info: Path) -> Iterator[dict[str, Any]]:
    """The columns of each entry, sorted by place; raises as `import_leaderboards`."""
    for file in sorted(model_info.glob("*/*/*.json")):
        if file.parent.name in NORMS:
            yield _row(file)


def _row(file: Path) -> dict[str, Any]:
    try:
        entry = json.loads(file.read_text(encoding="utf-8"))
        dataset, n_test = DATASETS[file.parent.parent.name]
        threat = Threat(norm=NORMS[file.parent.name], epsilon=str(entry["eps"]))
        measures = {"test_accuracy": _share(entry["clean_acc"]), "adv_test_accuracy": _share(entry["autoattack_acc"])}
        architecture = str(entry["architecture"])
    except (ValueError, KeyError, TypeError, RecursionError, OptionError, OSError) as error:
        raise DataError(f"{file} is no entry of RobustBench: {type(error).__name__}: {error}") from error
    others = {"claimed_adv_test_accuracy": "reported", "external_adv_test_accuracy": "external"}
    extra = {column: share for column, name in others.items() if (share := _stated(entry.get(name))) is not None}
    return {
        "suite": SUITE,
        "profile": "paper",
        "protocol": SUITE,
        "experiment": f"{file.parent.parent.name}-{file.parent.name}",
        "dataset": dataset,
        "architecture": architecture,
        "defense": file.stem,
        "norm": threat.norm,
        "epsilon": threat.epsilon,
        "attack": "autoattack",
        "n_test": n_test,
        **measures,
        "extra": extra,
        "configuration": json.dumps({name: entry[name] for name in FACTS if name in entry}, sort_keys=True),
        "published_source": SUITE,
        "published_table": "1",
    }


def _share(percent: object) -> float:
    """A percentage as a fraction, rounded so that 53.42 becomes the float 0.5342."""
    return round(float(str(percent)) / 100, 6)


def _stated(percent: object) -> float | None:
    """The fraction, or None where the file states no number between 0 and 100."""
    try:
        share = _share(percent)
    except ValueError:
        return None
    return share if 0.0 <= share <= 1.0 else None
