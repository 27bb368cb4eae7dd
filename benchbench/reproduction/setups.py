"""The papers' tables of experimental setups, the suite's settings beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from benchbench.leaderboard.layout import Column, Entry, Group, Line, Table
from benchbench.leaderboard.names import paper_label, printable
from benchbench.leaderboard.published import read_published
from benchbench.reproduction.papers import PaperTable
from benchbench.reproduction.verdicts import DIFFERS, EXACT, NOT_RUN

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


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How the models of one dataset are trained and attacked; every value as printed, empty where not known.

    Attributes:
        exceptions: methods with settings of their own, in words.
    """

    dataset: str
    architecture: str = ""
    optimizer: str = ""
    batch_size: str = ""
    epsilon: str = ""
    step_size: str = ""
    learning_rate: str = ""
    epochs: str = ""
    decay_epochs: str = ""
    n_train: str = ""
    n_test: str = ""
    classes: str = ""
    exceptions: str = ""


def published_setups(paper_table: PaperTable) -> tuple[Setup, ...]:
    """The columns of a published table of setups, with the schedules that the text around it gives."""
    names = {field.name for field in fields(Setup)}
    return tuple(
        Setup(**{name: value for name, value in record.items() if name in names})
        for record in read_published("published_setup.csv")
        if (record["source"], record["table"]) == (paper_table.paper, paper_table.number)
    )


def setup_table(ours: Sequence[Setup], paper_table: PaperTable) -> Table:
    """Published setups, ours beside each.

    Args:
        ours: of the suite's paper profile, by the paper's name of the dataset.
        paper_table: whose ``kind`` is ``"setup"``.
    """
    by_dataset = {setup.dataset: setup for setup in ours}
    lines = []
    for published in published_setups(paper_table):
        lines.append(_line(published, "published", None))
        lines.append(_line(by_dataset.get(published.dataset, Setup(dataset=published.dataset)), "ours", published))
    columns = [Column(key=key, label=label) for key, label in _LABELS.items()]
    columns.insert(1, Column(key="reference", label="source"))
    title = f"{paper_label(paper_table.paper)}, Table {paper_table.number}: {paper_table.caption}"
    group = Group(label="setup", attributes=(), lines=tuple(lines))
    return Table(title=title, columns=tuple(columns), groups=(group,), notes=_notes(ours))


def _notes(ours: Sequence[Setup]) -> tuple[str, ...]:
    return (
        "Ours are the recipes of the suite's paper profile; sizes are those of the rows measured in that profile, if any. "
        "Published schedules stand in the text beside the table.",
        *(f"{setup.dataset}, ours: {printable(setup.exceptions)}" for setup in ours if setup.exceptions),
    )


def _line(setup: Setup, source: str, published: Setup | None) -> Line:
    entries = [Entry(value=setup.dataset, text=setup.dataset), Entry(value=source, text=source)]
    for key in list(_LABELS)[1:]:
        value = getattr(setup, key)
        verdict = "" if published is None else _verdict(value, getattr(published, key))
        text = "\n".join(part for part in (printable(value) or ("" if verdict else "-"), verdict) if part)
        entries.append(Entry(value=value or None, text=text, verdict=verdict))
    return Line(
        entries=tuple(entries),
        cell_id="",
        source="measured" if published else "published",
        status="ok",
        reference=published.dataset if published else "",
    )


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
