"""``benchbench evaluate``: attack a model that was trained elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchbench.cell.model import canonical
from benchbench.cli.components import (
    COMPONENT,
    RADIUS_HELP,
    attack_options,
    find_architecture,
    model_options,
    read_model,
)
from benchbench.cli.display import progress_display
from benchbench.cli.options import (
    FILE,
    RADIUS,
    data_option,
    device_option,
    download_option,
    json_option,
    leaderboards_option,
    quiet_option,
    runs_option,
)
from benchbench.cli.printing import note, print_json, print_table, say
from benchbench.contract.threat import Norm
from benchbench.errors import UsageError
from benchbench.registry import load_registry
from benchbench.registry.lookup import ComponentEntry
from benchbench.settings import find_device, find_folders

if TYPE_CHECKING:
    from benchbench.own_model.report import ModelReport


@click.command(name="evaluate")
@model_options
@click.option("--epsilon", "epsilons", multiple=True, type=RADIUS, help=f"{RADIUS_HELP} Repeatable.")
@attack_options
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=COMPONENT,
    help="What to measure besides, for instance lipschitz; repeatable.",
)
@click.option(
    "--record",
    metavar="NAME",
    help="Write a row for each radius and attack into the leaderboard NAME.parquet, or into a file: PATH/NAME.parquet. What it "
    "has already is not computed again.",
)
@click.option("--card", type=FILE, help="TOML or JSON file: what the model's authors state, kept in the rows.")
@leaderboards_option
@runs_option
@device_option
@data_option
@download_option
@quiet_option
@json_option
def command(
    dataset: ComponentEntry,
    architecture: ComponentEntry | None,
    checkpoint: Path,
    key: str,
    epsilons: tuple[float, ...],
    attacks: tuple[ComponentEntry, ...],
    metrics: tuple[ComponentEntry, ...],
    norm: Norm | None,
    n_test: int | None,
    seed: int,
    record: str | None,
    card: Path | None,
    leaderboards: Path | None,
    runs: Path | None,
    device: str | None,
    data: Path | None,
    download: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Attack your own model: accuracy under each attack, and under each example's worst attack.

    Components are names, or TOML inline tables: --attack '{name = "pgd", steps = 50}'. The model takes pixels / 255;
    normalisation belongs inside it.
    """
    from benchbench.data import load_dataset
    from benchbench.own_model.evaluating import answer, resolve_all, resolve_attacks
    from benchbench.own_model.questions import Questions
    from benchbench.own_model.recording import find_destination
    from benchbench.registry.lookup import find_component
    from benchbench.suite.protocol import choose_threat

    if card is not None and record is None:
        raise UsageError("a model card is kept in rows", hint="--record NAME writes them")
    registry, folders = load_registry(), find_folders(data=data, runs=runs, leaderboards=leaderboards)
    component = find_component(registry, "dataset", dataset)
    network = find_architecture(registry, architecture, checkpoint)
    radii = epsilons or (None,)
    questions = Questions(
        threats=tuple(choose_threat(registry, component.name, norm=norm, epsilon=radius) for radius in radii),
        attacks=resolve_attacks(registry, attacks),
        metrics=resolve_all(registry, "metric", metrics),
        n_test=n_test,
        seed=seed,
    )
    to = None if record is None else find_destination(record, folders, architecture=network.component, card=card)
    where = find_device(device)
    loaded = load_dataset(registry, component, folders.source(download=download))
    model = read_model(registry, network, checkpoint, loaded.splits, key=key, dataset=component)
    with progress_display(quiet=quiet) as listener:
        reports = answer(model, component, loaded, questions, to=to, registry=registry, device=where, listener=listener)
    if to is not None:
        count = sum(len(report.attacks) for report in reports)
        note(f"{to.board} has {'this row' if count == 1 else f'these {count} rows'}")
    if as_json:
        called = {"architecture": network.name, "checkpoint": str(checkpoint)}
        documents = [{**called, **_document(report)} for report in reports]
        print_json(documents[0] if len(documents) == 1 else {"radii": documents})
    else:
        _print(reports)


def _document(report: ModelReport) -> dict[str, object]:
    return {
        "dataset": report.dataset,
        "dataset_digest": report.dataset_digest,
        "norm": report.threat.norm,
        "epsilon": report.threat.epsilon,
        "n_test": len(report.label),
        "test_accuracy": report.test_accuracy,
        "worst_case_accuracy": report.worst_case_accuracy,
        "setup": [dataclasses.asdict(mistake) for mistake in report.setup],
        "attacks": {
            label: {
                "name": attack.name,
                "options": canonical(attack.options),
                "adv_test_accuracy": attack.accuracy,
                "flags": list(attack.flags),
                "queries": attack.queries,
                "values": dict(attack.values),
                "notes": dict(attack.notes),
                "cell_id": attack.cell_id or None,
            }
            for label, attack in report.attacks.items()
        },
    }


def _print(reports: Sequence[ModelReport]) -> None:
    from benchbench.own_model.report import COLUMNS

    for report in reports:
        say(report.title)
        print_table(COLUMNS, report.lines, right=COLUMNS[1:3])
        if report.measured:
            print_table(("metric value", *report.attacks), report.measured)
    for warning in dict.fromkeys(warning for report in reports for warning in report.warnings):
        say(warning)
