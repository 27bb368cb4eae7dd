"""``benchbench compare``: compare models, checkpoints or leaderboards on the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from benchbench.cli.components import COMPONENT, attack_options, read_model
from benchbench.cli.display import progress_display
from benchbench.cli.options import (
    RADIUS,
    Function,
    data_option,
    device_option,
    download_option,
    json_option,
    leaderboards_option,
    quiet_option,
    runs_option,
    with_options,
)
from benchbench.cli.printing import note, print_json, print_table, say
from benchbench.contract.threat import Norm
from benchbench.errors import UsageError
from benchbench.registry import load_registry
from benchbench.registry.lookup import ComponentEntry
from benchbench.settings import find_device, find_folders

if TYPE_CHECKING:
    from benchbench.comparison.results import Comparison, Rankings, Spreads
    from benchbench.own_model.report import ModelReport


class Reading(TypedDict):
    """How checkpoints are read and attacked."""

    architectures: tuple[ComponentEntry, ...]
    key: str
    attacks: tuple[ComponentEntry, ...]
    norm: Norm | None
    epsilon: float | None
    n_test: int | None
    seed: int
    device: str | None
    data: Path | None
    download: bool
    quiet: bool


_CHECKPOINT_OPTIONS = (
    click.option("--dataset", type=COMPONENT, help="A and B are checkpoints of models for this dataset."),
    click.option(
        "--architecture",
        "architectures",
        multiple=True,
        type=COMPONENT,
        help="Of all checkpoints, or once for each; see 'benchbench evaluate --help'.",
    ),
    click.option("--weights", "key", default="", metavar="KEY", help="Which weights, if files hold several."),
    click.option("--epsilon", type=RADIUS, help="Radius of the threat, for instance 8/255; by default the paper's."),
)


def checkpoint_options(function: Function) -> Function:
    """Data, model and threat of checkpoints, as `_CHECKPOINT_OPTIONS` lists them."""
    return with_options(function, *_CHECKPOINT_OPTIONS)


@click.command(name="compare")
@click.argument("subjects", nargs=-1, required=True, metavar="A B [...]")
@leaderboards_option
@runs_option
@checkpoint_options
@attack_options
@device_option
@data_option
@download_option
@quiet_option
@json_option
def command(
    subjects: tuple[str, ...],
    leaderboards: Path | None,
    runs: Path | None,
    dataset: ComponentEntry | None,
    as_json: bool,
    **how: Unpack[Reading],
) -> None:
    """Compare models on the same test examples, or rank a leaderboard.

    Each example counts under the worst of the attacks that both models have.
    A and B are models: the beginning of a cell or model id, or KEY=VALUE[,KEY=VALUE...], for instance
    dataset=mnist,defense=trades,beta=6; the seeds of a model are combined. Two leaderboards (Parquet files) are compared model
    by model; a single one is ranked. With --dataset, A and B are checkpoints, which are attacked alike.
    Accuracies use exact McNemar tests, Lipschitzness and squared errors paired permutation tests, intervals the paired
    bootstrap. If both models have several seeds, Welch's t-test over the seeds; if one has, the test is whether the single run
    of the other lies in their prediction interval. p-values are corrected by Holm's method; seeds without spread have none.
    """
    from benchbench.comparison.results import Comparison
    from benchbench.comparison.subjects import compare_subjects

    if dataset is not None:
        _compare_checkpoints(subjects, dataset, how, as_json)
        return
    if how["architectures"] or any(Path(one).is_file() and not one.endswith(".parquet") for one in subjects):
        raise UsageError("checkpoints are compared on the data of --dataset", hint="--dataset NAME")
    found = compare_subjects(subjects, find_folders(leaderboards=leaderboards, runs=runs), on_problem=note)
    if as_json:
        print_json(found.document)
    elif isinstance(found, Comparison):
        _print_comparison(found)
    else:
        _print_rankings(found)


def _compare_checkpoints(checkpoints: Sequence[str], dataset: ComponentEntry, how: Reading, as_json: bool) -> None:
    from benchbench.own_model.pairing import compare_reports

    if len(checkpoints) < 2 or len(set(checkpoints)) < len(checkpoints):
        raise UsageError("comparing takes two or more different checkpoints")
    networks = how["architectures"]
    if len(networks) not in (0, 1, len(checkpoints)):
        raise UsageError(
            f"{len(checkpoints)} checkpoints have {len(networks)} architectures",
            hint="--architecture once for all, or once for each, in their order",
        )
    each = networks if len(networks) == len(checkpoints) else [*networks, None][:1] * len(checkpoints)
    reports = _evaluate(dict(zip(checkpoints, each)), dataset, how)
    comparison, first = compare_reports(reports), next(iter(reports.values()))
    if as_json:
        threat = {"norm": first.threat.norm, "epsilon": first.threat.epsilon}
        setting = {"dataset": first.dataset, **threat, "n_test": len(first.label), "attacks": [*first.attacks]}
        print_json({**setting, **comparison.document})
    else:
        say(f"{first.title}, worst of {' and '.join(first.attacks)}")
        _print_comparison(comparison)


def _evaluate(
    networks: dict[str, ComponentEntry | None], dataset: ComponentEntry, how: Reading
) -> dict[str, ModelReport]:
    """Attack the models of checkpoints on the same images."""
    from benchbench.data import load_dataset
    from benchbench.own_model.evaluating import evaluate_on, resolve_attacks
    from benchbench.registry.lookup import find_component
    from benchbench.suite.protocol import choose_threat

    registry, where = load_registry(), find_device(how["device"])
    component = find_component(registry, "dataset", dataset)
    attacks = resolve_attacks(registry, how["attacks"])
    threat = choose_threat(registry, component.name, norm=how["norm"], epsilon=how["epsilon"])
    loaded = load_dataset(registry, component, find_folders(data=how["data"]).source(download=how["download"]))
    models = {
        file: read_model(registry, entry, Path(file), loaded.splits, key=how["key"], dataset=component)
        for file, entry in networks.items()
    }
    with progress_display(quiet=how["quiet"]) as listener:
        return {
            file: evaluate_on(
                model,
                component.name,
                loaded,
                registry=registry,
                threat=threat,
                attacks=attacks,
                n_test=how["n_test"],
                seed=how["seed"],
                device=where,
                listener=listener,
            )
            for file, model in models.items()
        }


def _print_comparison(comparison: Comparison) -> None:
    from benchbench.comparison.results import COLUMNS

    print_table(COLUMNS, comparison.lines, right=COLUMNS[3:7])
    for warning in comparison.warnings:
        say(warning)
    _print_spreads(comparison.seeds)


def _print_rankings(found: Rankings) -> None:
    for one in found.rankings:
        say(one.title)
        print_table(one.columns, one.lines, right=("rank", *one.figures))
        say()
    say(
        "= models share a rank unless the difference is significant (accuracies: exact McNemar; squared errors: paired t; "
        "Holm, 0.05)"
    )
    say("Flagged models rank below all others; only the standard AutoAttack as a whole clears flags.")
    _print_spreads(found.seeds)


def _print_spreads(spreads: Spreads) -> None:
    from benchbench.comparison.results import SPREAD_COLUMNS, spread_lines

    if rows := spread_lines(spreads):
        say()
        print_table(SPREAD_COLUMNS, rows)
