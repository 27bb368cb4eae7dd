"""``benchbench separation``: how far apart the classes of a dataset are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from benchbench.cli.components import COMPONENT, component_name
from benchbench.cli.options import FOLDER, RADIUS, data_option, download_option, json_option
from benchbench.cli.printing import note, print_json, print_table, say
from benchbench.registry.lookup import ComponentEntry

if TYPE_CHECKING:
    from benchbench.separations import Separation, SeparationReport


class SeparationOptions(TypedDict):
    """The values of the options that `command` passes on."""

    random_labels: bool
    exclude: tuple[int, ...]
    epsilon: float | None
    pairs: int
    data: Path | None
    download: bool


@click.command(name="separation")
@click.argument("dataset", type=COMPONENT, metavar="DATASET")
@click.option("--random-labels", is_flag=True, help="Replace each label by a uniform draw (the paper's Table 8).")
@click.option("--exclude", multiple=True, type=int, metavar="I", help="Leave out training example I; repeatable.")
@click.option(
    "--epsilon", type=RADIUS, help="Attack radius to compare with, for instance 8/255; by default the paper's."
)
@click.option(
    "--pairs", type=click.IntRange(min=0), default=5, show_default=True, help="Number of closest pairs to show."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the random labels.")
@data_option
@click.option(
    "--leaderboards",
    type=FOLDER,
    help="Also record the result in this folder, for `benchbench table` and `benchbench figure`.",
)
@download_option
@json_option
def command(
    dataset: ComponentEntry, seed: int, leaderboards: Path | None, as_json: bool, **options: Unpack[SeparationOptions]
) -> None:
    """Measure the exact L-inf distance of examples of DATASET to the nearest of another class.

    DATASET is a name, or a TOML inline table of name and options.
    """
    from benchbench.api import separation
    from benchbench.events.wording import describe

    report = separation(dataset, seed=seed, listener=lambda event: note(describe(event) or ""), **options)
    if leaderboards is not None:
        from benchbench.leaderboard.separations import measured_separation, record_separation

        note(f"recorded in {record_separation(leaderboards, measured_separation(_name(dataset), report, seed=seed))}")
    if as_json:
        print_json({"dataset": component_name(dataset), **report.to_dict()})
    else:
        _print(component_name(dataset), report)


def _name(dataset: ComponentEntry) -> str:
    """The dataset's name, followed by its options if it has any."""
    if isinstance(dataset, str):
        return dataset
    options = ", ".join(f"{key}={value}" for key, value in sorted(dataset.items()) if key != "name")
    return f"{dataset['name']} ({options})" if options else str(dataset["name"])


def _print(name: str, report: SeparationReport) -> None:
    labels = "random labels" if report.random_labels else "its own labels"
    left_out = f", without training examples {', '.join(map(str, report.excluded))}" if report.excluded else ""
    say(f"{name}, {labels}{left_out}: L-inf distance to the nearest example of another class")
    both = {"train-train": report.train_train, "test-train": report.test_train}
    print_table(
        ("separation", "examples", "minimum", "mean", "radius", "above 2 epsilon"),
        [(label, *_figures(one)) for label, one in both.items()],
        right=("examples", "minimum", "mean", "radius"),
    )
    pairs = [
        (label, pair.query, pair.reference, pair.query_label, pair.reference_label, f"{pair.distance:.4f}")
        for label, one in both.items()
        for pair in one.closest
    ]
    if pairs:
        say()
        say("closest pairs:")
        print_table(("separation", "example", "training example", "label", "other label", "distance"), pairs)
    if report.train_train.minimum == 0 or report.test_train.minimum == 0:
        note("identical examples have different labels: --exclude leaves training examples out")


def _figures(one: Separation) -> tuple[str, ...]:
    above = "" if one.epsilon is None else f"{'yes' if one.exceeds_two_epsilon else 'NO'} ({2 * one.epsilon:g})"
    return f"{one.examples:,}", f"{one.minimum:.4f}", f"{one.mean:.4f}", f"{one.radius:.4f}", above
