"""``benchbench compare``: compare models, checkpoints or leaderboards on the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchbench.cli import options
from benchbench.cli.components import COMPONENT, attack_options, find_architecture, read_model
from benchbench.cli.display import progress_display
from benchbench.cli.printing import note, print_json, print_table, say
from benchbench.errors import UsageError
from benchbench.registry import load_registry
from benchbench.registry.lookup import ComponentEntry
from benchbench.settings import find_device, find_folders


@click.command(name="compare")
@click.argument("subjects", nargs=-1, required=True, metavar="A B [...]")
@options.leaderboards_option
@options.runs_option
@click.option("--dataset", type=COMPONENT, help="A and B are checkpoints of models for this dataset.")
@click.option(
    "--architecture",
    "networks",
    multiple=True,
    type=COMPONENT,
    help="Of all checkpoints, or once for each; see 'benchbench evaluate --help'.",
)
@click.option("--weights", "key", default="", metavar="KEY", help="Which weights, if files hold several.")
@click.option(
    "--epsilon", type=options.RADIUS, help="Radius of the threat, for instance 8/255; by default the paper's."
)
@attack_options
@options.device_option
@options.data_option
@options.download_option
@options.quiet_option
@options.json_option
def command(
    subjects: tuple[str, ...],
    leaderboards: Path | None,
    runs: Path | None,
    dataset: ComponentEntry | None,
    networks: tuple[ComponentEntry, ...],
    as_json: bool,
    **how: Any,
) -> None:
    """Compare models on the same test examples, or rank a leaderboard.

    Each example counts under the worst of the attacks that both models have.
    A and B are models: the beginning of a cell or model id, or KEY=VALUE[,KEY=VALUE...], for instance
    dataset=mnist,defense=trades,beta=6; the seeds of a model are combined. Two leaderboards (Parquet files) are compared model
    by model; a single one is ranked. With --dataset, A and B are checkpoints, which are attacked on the same images.
    Accuracies use exact McNemar tests, Lipschitzness and squared errors paired permutation tests, intervals the paired
    bootstrap. If both models have several seeds, Welch's t-test over the seeds; if one has, the test is whether the single run
    of the other lies in their prediction interval. p-values are corrected by Holm's method; seeds without spread have none.
    """
    from benchbench.comparison.subjects import compare_subjects

    if dataset is not None:
        from benchbench.own_model.pairing import compare_reports

        found = compare_reports(_evaluate(subjects, dataset, networks, **how))
    elif networks or any(Path(one).is_file() and not one.endswith(".parquet") for one in subjects):
        raise UsageError("checkpoints are compared on the data of --dataset", hint="--dataset NAME")
    else:
        found = compare_subjects(subjects, find_folders(leaderboards=leaderboards, runs=runs), on_problem=note)
    if as_json:
        print_json(found.document)
        return
    for place, sheet in enumerate(found.sheets):
        for line in (*([""] if place else []), *([sheet.title] if sheet.title else [])):
            say(line)
        print_table(sheet.columns, sheet.lines, right=sheet.right)
        for remark in sheet.remarks:
            say(remark)


def _evaluate(
    checkpoints: Sequence[str], dataset: ComponentEntry, networks: Sequence[ComponentEntry], **how: Any
) -> dict[str, Any]:
    """The reports of checkpoints, by file."""
    from benchbench.data import load_dataset
    from benchbench.own_model.evaluating import evaluate_on, resolve_attacks
    from benchbench.own_model.questions import Questions
    from benchbench.registry.lookup import find_component
    from benchbench.suite.protocol import choose_threat

    if len(networks) not in (0, 1, len(checkpoints)):
        raise UsageError(
            f"{len(checkpoints)} checkpoints have {len(networks)} architectures",
            hint="--architecture once for all, or once for each, in their order",
        )
    registry = load_registry()
    component = find_component(registry, "dataset", dataset)
    threat = choose_threat(registry, component.name, norm=how["norm"], epsilon=how["epsilon"])
    attacks = resolve_attacks(registry, how["attacks"])
    loaded = load_dataset(registry, component, find_folders(data=how["data"]).source(download=how["download"]))
    each = networks if len(networks) > 1 else [*networks, None][:1] * len(checkpoints)
    found = {file: find_architecture(registry, entry, Path(file)) for file, entry in zip(checkpoints, each)}
    models = {
        file: read_model(registry, network, Path(file), loaded.splits, key=how["key"], dataset=component)
        for file, network in found.items()
    }
    questions = Questions(threats=(threat,), attacks=attacks, n_test=how["n_test"], seed=how["seed"])
    device = find_device(how["device"])
    with progress_display(quiet=how["quiet"]) as listener:
        return {
            file: evaluate_on(
                model, component.name, loaded, questions, registry=registry, device=device, listener=listener
            )
            for file, model in models.items()
        }
