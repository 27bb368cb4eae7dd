"""Read a cell from the configuration in its row."""

from __future__ import annotations

import json
from typing import Any

from benchbench.cell.model import WITHOUT_THREAT, Cell, Component, EvaluationSpec, TrainingSpec, given_model
from benchbench.contract.recipe import Augmentation, Recipe, require_plain
from benchbench.contract.threat import Threat
from benchbench.errors import BenchbenchError, DataError

_Document = dict[str, Any]  # parsed JSON, unchecked: `read_cell` turns what a wrong type raises into a `DataError`


def read_cell(text: str) -> Cell:
    """Read a row's ``configuration`` column, which `benchbench.cell.model.to_json` wrote.

    One that is damaged, or of another version of benchbench, is a DataError.
    """
    try:
        document = completed(json.loads(text))
        cell = Cell(
            suite=document["suite"],
            profile=document["profile"],
            protocol=document["protocol"],
            experiment=document["experiment"],
            training=_training(document["training"]),
            evaluation=_evaluation(document["evaluation"]),
        )
        training, evaluation = cell.training, cell.evaluation
        stated = (cell, training, training.recipe, training.recipe.augmentation, evaluation, *cell.components)
        for part in (*stated, evaluation.threat, *([training.threat] if training.threat else [])):
            require_plain(part)
        return cell
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, BenchbenchError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"the configuration cannot be read ({type(error).__name__}: {reason})") from error


def completed(document: _Document) -> _Document:
    """Add to a parsed configuration what schemas 1 and 2 lack.

    Their one threat is training's, even where it is unused. What is no configuration is a KeyError or TypeError.
    """
    training, evaluation = document["training"], document["evaluation"]
    if "threat" in evaluation:
        return document
    used = training["defense"]["name"] not in WITHOUT_THREAT
    return {
        **document,
        "training": {**training, "threat": training["threat"] if used else None},
        "evaluation": {**evaluation, "threat": training["threat"]},
    }


def _training(document: _Document) -> TrainingSpec:
    known = {
        "dataset": _component(document["dataset"], "dataset"),
        "architecture": _component(document["architecture"], "architecture"),
    }
    if document.get("weights"):
        return given_model(**{**document, **known})
    made = {
        **known,
        "defense": _component(document["defense"], "defense"),
        "threat": Threat(**document["threat"]) if document["threat"] else None,
        "recipe": _recipe(document["recipe"]),
    }
    return TrainingSpec(**{**document, **made})


def _evaluation(document: _Document) -> EvaluationSpec:
    made = {
        "threat": Threat(**document["threat"]),
        "attack": _component(document["attack"], "attack"),
        "metrics": tuple(_component(metric, "metric") for metric in document["metrics"]),
    }
    return EvaluationSpec(**{**document, **made})


def _recipe(document: _Document) -> Recipe:
    made = {"augmentation": Augmentation(**document["augmentation"]), "decay_epochs": tuple(document["decay_epochs"])}
    return Recipe(**{**document, **made})


def _component(document: _Document, kind: str) -> Component:
    if document["kind"] != kind:
        raise ValueError(f"a component of kind {document['kind']!r:.40} in place of {kind}")
    return Component(**{**document, "options": {name: _frozen(value) for name, value in document["options"].items()}})


def _frozen(value: object) -> object:
    """Convert JSON's lists to tuples and its mappings to components, as in component options."""
    if isinstance(value, dict):
        return _component(value, str(value["kind"]))
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("an option of more than 63 bits")
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
