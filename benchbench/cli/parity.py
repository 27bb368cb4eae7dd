"""``benchbench parity``: one attack by several libraries, compared example by example."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchbench.cli.components import RADIUS_HELP, find_architecture, model_options, read_model
from benchbench.cli.options import RADIUS, data_option, device_option, json_option
from benchbench.cli.printing import note, print_json, print_table, say
from benchbench.contract.threat import Norm, check_radius
from benchbench.errors import DataError
from benchbench.registry import Registry, load_registry
from benchbench.registry.lookup import ComponentEntry
from benchbench.settings import find_device, find_folders

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from benchbench.data import Subset
    from benchbench.parity import AttackSetting, ParityReport

BATCH = 100
NAMED = 20  # disputed examples that a line lists


@click.command(name="parity")
@model_options
@click.option("--epsilon", type=RADIUS, help=RADIUS_HELP)
@click.option("--attack", type=click.Choice(["pgd", "autoattack"]), default="pgd", show_default=True)
@click.option(
    "--steps", type=click.IntRange(min=1), default=10, show_default=True, help="Steps of PGD, of epsilon / 5."
)
@click.option("--norm", type=click.Choice(["linf", "l2"]), help="Norm of the threat; see 'benchbench evaluate --help'.")
@click.option("--n-test", type=click.IntRange(min=1), default=100, show_default=True, help="Test examples.")
@device_option
@data_option
@json_option
def command(
    dataset: ComponentEntry,
    architecture: ComponentEntry | None,
    checkpoint: Path,
    key: str,
    attack: str,
    steps: int,
    norm: Norm | None,
    epsilon: float | None,
    n_test: int,
    device: str | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Run the same attack by benchbench and other libraries, and compare the examples.

    The libraries are foolbox, torchattacks, ART and AutoAttack's code, if installed. PGD starts at the image, so that it is
    deterministic. Every candidate is checked to be in ball and box.
    """
    from benchbench.data import load_dataset, subset
    from benchbench.parity import AttackSetting
    from benchbench.registry.lookup import find_component
    from benchbench.suite.protocol import choose_threat

    registry = load_registry()
    component = find_component(registry, "dataset", dataset)
    threat = choose_threat(registry, component.name, norm=norm, epsilon=epsilon)
    splits = load_dataset(registry, component, find_folders(data=data).source(download=False)).splits
    if splits.task != "classification":
        raise DataError(f"parity compares attacks on classifiers, {component.name!r} is for regression")
    threat = dataclasses.replace(threat, lower=splits.lower, upper=splits.upper)
    check_radius(threat, splits.input_shape)
    for message in splits.notes:
        note(message)
    network = find_architecture(registry, architecture, checkpoint)
    model = read_model(registry, network, checkpoint, splits, key=key, dataset=component)
    setting = AttackSetting(attack=attack, threat=threat, steps=steps, classes=len(splits.classes))  # type: ignore[arg-type]
    test = subset(splits.test, min(n_test, len(splits.test)), "test")
    report = _compare(model.to(find_device(device)), test, setting, registry, find_device(device))
    if as_json:
        setup = {"dataset": component.name, "norm": threat.norm, "epsilon": threat.epsilon, "attack": attack}
        print_json({**setup, **_document(report, test.indices)})
    else:
        _print(report, test.indices)


def _compare(
    model: nn.Module, test: Subset, setting: AttackSetting, registry: Registry, device: torch.device
) -> ParityReport:
    import torch

    from benchbench.contract import KeyedGenerator, derive_seed
    from benchbench.kernels.inputs import as_model_input
    from benchbench.own_model.guests import adapt
    from benchbench.parity import compare_implementations, installed_peers

    images, labels = as_model_input(test.examples.inputs.to(device)), test.examples.labels.to(device)
    guest = adapt(model, images, classes=setting.classes)
    options = {"steps": setting.steps, "random_start": False} if setting.attack == "pgd" else {}
    native = registry.make("attack", registry.resolve("attack", setting.attack, options))
    rows = iter(torch.split(test.indices.to(device), BATCH))

    def perturb(part: Tensor, truth: Tensor) -> Tensor:
        generator = KeyedGenerator(derive_seed(setting.seed, "parity"), next(rows))
        return native.perturb(guest, part, truth, threat=setting.threat, generator=generator)

    return compare_implementations(
        guest,
        images,
        labels,
        threat=setting.threat,
        native=perturb,
        peers=lambda frozen_model: installed_peers(frozen_model, setting),
        batch_size=BATCH,
    )


def _document(report: ParityReport, index: Tensor) -> dict[str, object]:
    """The JSON document; disagreements are listed as indices in the test set."""
    return {
        "n_test": len(report.correct),
        "test_accuracy": float(report.correct.double().mean()),
        "implementations": [
            {"name": one.name, "error": one.error}
            if one.error
            else {
                "name": one.name,
                "adv_test_accuracy": one.robust_accuracy,
                "only_benchbench_fools": report.disagreements(one)[0],
                "only_it_fools": report.disagreements(one)[1],
                "disagreeing_examples": sorted(index[report.disputed(one)].tolist()),
                "outside_ball_or_box": one.outside,
                "seconds": one.seconds,
            }
            for one in report.implementations
        ],
    }


def _print(report: ParityReport, index: Tensor) -> None:
    say(f"{len(report.correct)} test examples, accuracy {float(report.correct.double().mean()):.2%}")
    rows = []
    for one in report.implementations:
        ours, theirs = report.disagreements(one)
        figures = (f"{one.robust_accuracy:.2%}", str(ours), str(theirs), str(one.outside), f"{one.seconds:.3f}")
        rows.append((one.name, *(("-",) * 5 if one.error else figures), one.error))
    columns = ("implementation", "robust", "only benchbench fools", "only it fools", "outside", "seconds", "error")
    print_table(columns, rows, right=columns[1:6])
    for one in report.implementations:
        disputed = sorted(index[report.disputed(one)].tolist()) if not one.error else []
        if disputed:
            more = f" and {len(disputed) - NAMED} more (--json lists all)" if len(disputed) > NAMED else ""
            listed = ", ".join(map(str, disputed[:NAMED]))
            say(f"benchbench and {one.name} disagree on test examples {listed}{more}")
