"""The papers' tables of setups, with the settings of a suite's paper profile beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchbench.cell.model import Component
from benchbench.contract.recipe import Recipe
from benchbench.escaping import printable
from benchbench.leaderboard.layout import Column, Entry, Group, Line, Table
from benchbench.leaderboard.published import ARCHITECTURE_NAMES, DATASET_NAMES, read_published
from benchbench.records import Row
from benchbench.registry import Registry
from benchbench.reproduction.papers import PaperTable
from benchbench.reproduction.verdicts import DIFFERS, EXACT, NOT_RUN
from benchbench.suite import Experiment, Suite

_LABELS = {
    "dataset": "dataset",
    "architecture": "network",
    "optimizer": "optimiser",
    "batch_size": "batch size",
    "epsilon": "radius",
    "step_size": "PGD step size",
    "learning_rate": "learning rate",
    "epochs": "epochs",
    "decay_epochs": "decay after",
    "n_train": "training examples",
    "n_test": "test examples",
    "classes": "classes",
}
_PROOF_OF_CONCEPT = "7"  # the table whose models see the test set
_PROFILE = "paper"
_OPTIMIZERS = {"sgd": "SGD", "adam": "Adam"}

Setup = Mapping[str, str]
"""A dataset's training and attack as printed, and ``exceptions`` with what methods change."""


def setup_table(ours: Mapping[str, Setup], paper_table: PaperTable) -> Table:
    """The published setups with ours, given by the paper's name of the dataset, below each."""
    lines = []
    for record in read_published("published_setup.csv"):
        if (record["source"], record["table"]) == (paper_table.paper, paper_table.number):
            dataset = record["dataset"]
            lines += [_line(record, "published", None), _line(ours.get(dataset, {"dataset": dataset}), "ours", record)]
    columns = [Column(key=key, label=label) for key, label in _LABELS.items()]
    columns.insert(1, Column(key="reference", label="source"))
    group = Group(label="setup", attributes=(), lines=tuple(lines))
    notes = (
        "Ours are the recipes of the suite's paper profile; sizes are those of the rows measured in that profile, if any. "
        "Published schedules stand in the text beside the table.",
        *(f"{name}, ours: {printable(setup['exceptions'])}" for name, setup in ours.items() if setup["exceptions"]),
    )
    return Table(title=paper_table.title, columns=tuple(columns), groups=(group,), notes=notes)


def _line(setup: Setup, source: str, published: Setup | None) -> Line:
    dataset = setup["dataset"]
    entries = [Entry(value=dataset, text=dataset), Entry(value=source, text=source)]
    for key in list(_LABELS)[1:]:
        value = setup.get(key, "")
        verdict = "" if published is None else _verdict(value, published.get(key, ""))
        text = "\n".join(part for part in (printable(value) or ("" if verdict else "-"), verdict) if part)
        entries.append(Entry(value=value or None, text=text, verdict=verdict))
    kind = "measured" if published else "published"
    return Line(entries=tuple(entries), cell_id="", source=kind, status="ok", reference=dataset if published else "")


def _verdict(ours: str, theirs: str) -> str:
    if not theirs:
        return ""
    if not ours:
        return NOT_RUN
    return EXACT if _number(ours) == _number(theirs) else DIFFERS


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def suite_setups(
    suite: Suite, registry: Registry, rows: Sequence[Row], paper_table: PaperTable
) -> dict[str, dict[str, str]]:
    """The setup of each dataset's first paper-profile experiment, by the paper's dataset name."""
    trained_on = "train+test" if paper_table.number == _PROOF_OF_CONCEPT else "train"
    found: dict[str, dict[str, str]] = {}
    for experiment in suite.profile(_PROFILE) if _PROFILE in suite.profiles else ():
        name = DATASET_NAMES.get(experiment.dataset.name)
        if name and name not in found and experiment.trained_on == trained_on and not experiment.skip:
            found[name] = _setup(name, experiment, registry, rows)
    return found


def _setup(name: str, experiment: Experiment, registry: Registry, rows: Sequence[Row]) -> dict[str, str]:
    recipe = experiment.recipe_for(experiment.architectures[0], experiment.defenses[0])
    measured = [r for r in rows if (r.source, r.profile, r.experiment) == ("measured", _PROFILE, experiment.name)]
    return {
        "dataset": name,
        "architecture": " / ".join(ARCHITECTURE_NAMES.get(part.name, part.name) for part in experiment.architectures),
        "optimizer": _OPTIMIZERS.get(recipe.optimizer, recipe.optimizer),
        "batch_size": str(recipe.batch_size),
        "epsilon": f"{experiment.threat.epsilon:g}",
        "step_size": _step_size(experiment.attacks, experiment.threat.epsilon),
        "learning_rate": f"{recipe.learning_rate:g}",
        "epochs": str(recipe.epochs),
        "decay_epochs": " ".join(map(str, recipe.decay_epochs)),
        "n_train": str(measured[0].n_train) if measured else "",
        "n_test": str(measured[0].n_test) if measured else "",
        "classes": str(registry.capabilities(experiment.dataset).minimum_classes),
        "exceptions": _exceptions(experiment, recipe),
    }


def _step_size(attacks: Sequence[Component], epsilon: float) -> str:
    """The step size of PGD, whose options give it as a multiple of epsilon."""
    ratios = [attack.options.get("step_ratio") for attack in attacks]
    return next((f"{ratio * epsilon:g}" for ratio in ratios if isinstance(ratio, float)), "")


def _exceptions(experiment: Experiment, usual: Recipe) -> str:
    network = experiment.architectures[0]
    rates = {defense.name: experiment.recipe_for(network, defense).learning_rate for defense in experiment.defenses}
    other = [f"{name} at learning rate {rate:g}" for name, rate in rates.items() if rate != usual.learning_rate]
    momentum = [f"momentum {usual.momentum:g}"] if usual.momentum else []
    augmented = [f"augmentation {usual.augmentation.label}"] if usual.augmentation.label != "none" else []
    return ", ".join([*momentum, *augmented, *other])
