"""``benchbench evaluate``: attack a model that was trained elsewhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchbench.cell.model import canonical
from benchbench.cli.components import (
    attack_options,
    component_name,
    find_architecture,
    make_architecture,
    model_options,
)
from benchbench.cli.display import progress_display
from benchbench.cli.options import data_option, device_option, download_option, json_option, quiet_option
from benchbench.cli.printing import note, print_json, print_table, say
from benchbench.contract.threat import Norm
from benchbench.registry import load_registry
from benchbench.registry.lookup import ComponentEntry
from benchbench.settings import find_device, find_folders

if TYPE_CHECKING:
    from benchbench.own_model.report import ModelReport


@click.command(name="evaluate")
@model_options
@attack_options
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
    attacks: tuple[ComponentEntry, ...],
    norm: Norm | None,
    epsilon: float | None,
    n_test: int | None,
    seed: int,
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
    from benchbench.own_model.evaluating import evaluate_on, resolve_attacks
    from benchbench.own_model.files import load_weights
    from benchbench.registry.lookup import find_component
    from benchbench.suite.protocol import choose_threat

    registry = load_registry()
    component = find_component(registry, "dataset", dataset)
    network = find_architecture(registry, architecture, checkpoint)
    resolved = resolve_attacks(registry, attacks)
    threat = choose_threat(registry, component.name, norm=norm, epsilon=epsilon)
    where = find_device(device)
    loaded = load_dataset(registry, component, find_folders(data=data).source(download=download))
    shape, classes = loaded.splits.input_shape, len(loaded.splits.classes)
    load = partial(load_weights, path=checkpoint, key=key, dataset=component)
    model = make_architecture(registry, network, load, input_shape=shape, classes=classes)
    if said := load(model):
        note(said)
    with progress_display(quiet=quiet) as listener:
        report = evaluate_on(
            model,
            component.name,
            loaded,
            registry=registry,
            threat=threat,
            attacks=resolved,
            n_test=n_test,
            seed=seed,
            device=where,
            listener=listener,
        )
    if as_json:
        print_json({"architecture": component_name(network), "checkpoint": str(checkpoint), **_document(report)})
    else:
        _print(report)


def _document(report: ModelReport) -> dict[str, object]:
    return {
        "dataset": report.dataset,
        "dataset_digest": report.dataset_digest,
        "norm": report.threat.norm,
        "epsilon": report.threat.epsilon,
        "n_test": len(report.label),
        "test_accuracy": report.test_accuracy,
        "worst_case_accuracy": report.worst_case_accuracy,
        "attacks": {
            label: {
                "name": attack.name,
                "options": canonical(attack.options),
                "adv_test_accuracy": attack.accuracy,
                "flags": list(attack.flags),
                "queries": attack.queries,
            }
            for label, attack in report.attacks.items()
        },
    }


def _print(report: ModelReport) -> None:
    from benchbench.own_model.report import COLUMNS

    say(report.title)
    print_table(COLUMNS, report.lines, right=COLUMNS[1:3])
