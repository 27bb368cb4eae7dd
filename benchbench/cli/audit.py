"""``benchbench audit``: try to refute a claimed robust accuracy."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchbench.cli.components import RADIUS_HELP, checkpoint_argument, find_architecture, read_model
from benchbench.cli.display import progress_display
from benchbench.cli.options import FILE, RADIUS, data_option, device_option, download_option, json_option, quiet_option
from benchbench.cli.printing import print_json, say_lines
from benchbench.contract.threat import NORMS
from benchbench.registry import load_registry
from benchbench.registry.lookup import ComponentEntry, find_component
from benchbench.settings import find_folders

if TYPE_CHECKING:
    from benchbench.own_model.report import AuditReport


@click.command(name="audit")
@checkpoint_argument
@click.option("--accuracy", type=float, required=True, help="The claimed robust accuracy, for instance 0.62.")
@click.option("--epsilon", type=RADIUS, help=RADIUS_HELP)
@click.option("--norm", type=click.Choice(NORMS), help="Norm of the threat; see 'benchbench evaluate --help'.")
@click.option("--budget", default="2m", show_default=True, help="Time after which no attack goes on.")
@click.option("--n-test", type=click.IntRange(min=1), default=500, show_default=True, help="Test examples, at most.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all random draws.")
@click.option("--images", type=FILE, help="Where to write the images that break the model, a Parquet file.")
@device_option
@data_option
@download_option
@quiet_option
@json_option
def command(checkpoint: Path, dataset: ComponentEntry, key: str, quiet: bool, as_json: bool, **how: Any) -> int:
    """Attack the model of CHECKPOINT until a claim is refuted, or nothing is left to try.

    The diagnostics choose the order: gradients, transfer, gradients through steps, random search, averages over draws,
    restarts. An exact test over the examples decides. If the claim stands, answers planted in the model show whether each
    attack works on it. Exit status: 0 not refuted, which proves nothing; 1 refuted; 2 usage error, or the set-up is wrong.
    """
    from benchbench.data import load_dataset
    from benchbench.own_model.auditing import audit
    from benchbench.suite.protocol import choose_threat

    registry = load_registry()
    component = find_component(registry, "dataset", dataset)
    network = find_architecture(registry, how.pop("architecture"), checkpoint)
    threat = choose_threat(registry, component.name, norm=how.pop("norm"), epsilon=how.pop("epsilon"))
    source = find_folders(data=how.pop("data")).source(download=how.pop("download"))
    loaded = load_dataset(registry, component, source)
    model = read_model(registry, network, checkpoint, loaded.splits, key=key, dataset=component)
    with progress_display(quiet=quiet) as listener:
        report = audit(model, dataset=(component.name, loaded), threat=threat, listener=listener, **how)
    if as_json:
        print_json({"architecture": network.name, "checkpoint": str(checkpoint), **_document(report)})
    else:
        say_lines(repr(report))
    return 1 if report.refuted else 0


def _document(report: AuditReport) -> dict[str, object]:
    return {
        **{name: getattr(report, name) for name in ("claimed", "refuted", "p_value", "bound", "left", "flags")},
        "dataset": report.first.dataset,
        "norm": report.first.threat.norm,
        "epsilon": report.first.threat.epsilon,
        "n_test": len(report.robust),
        "test_accuracy": report.first.test_accuracy,
        "setup": [dataclasses.asdict(mistake) for mistake in report.first.setup],
        "tried": [dataclasses.asdict(one) for one in report.tried],
    }
