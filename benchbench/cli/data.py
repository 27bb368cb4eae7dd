"""``benchbench data``: list, fetch and verify datasets."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchbench.cli.components import COMPONENT, component_name
from benchbench.cli.options import data_option, json_option
from benchbench.cli.printing import note, print_json, print_table, say
from benchbench.registry import load_registry
from benchbench.registry.lookup import ComponentEntry
from benchbench.settings import find_folders

if TYPE_CHECKING:
    from benchbench.data import Availability


@click.group(name="data")
def command() -> None:
    """List, fetch or verify datasets."""


@command.command(name="list")
@data_option
@json_option
def list_datasets(data: Path | None, as_json: bool) -> None:
    """List the datasets and whether their files are available."""
    from benchbench.data import availability

    _show(availability(load_registry(), find_folders(data=data).source()), as_json=as_json)


@command.command(name="verify")
@click.argument("names", nargs=-1, type=COMPONENT, metavar="[NAME]...")
@data_option
@json_option
def verify_datasets(names: tuple[ComponentEntry, ...], data: Path | None, as_json: bool) -> int:
    """Verify checksums of datasets; list files that they leave out.

    Exit status: 0 all are intact, 1 one is damaged, or one that was named is not available.

    NAME is a name, or a TOML inline table of name and options: '{name = "image-folder", path = "pets"}'.
    """
    from benchbench.data import verify

    found = verify(load_registry(), find_folders(data=data).source(), names or None)
    _show(found, as_json=as_json)
    return 1 if any(one.status == "corrupt" or (names and one.status != "available") for one in found) else 0


@command.command(name="fetch")
@click.argument("dataset", type=COMPONENT, metavar="NAME")
@data_option
def fetch_dataset(dataset: ComponentEntry, data: Path | None) -> None:
    """Download a dataset into the data root, or build its cache.

    NAME is as for verify.
    """
    from benchbench.data import fetch

    folders = find_folders(data=data)
    folders.data.mkdir(parents=True, exist_ok=True)
    loaded = fetch(load_registry(), folders.source(download=True), dataset)
    for message in loaded.splits.notes:
        note(message)
    train, test = len(loaded.splits.train), len(loaded.splits.test)
    counts = f"{train} training and {test} test examples in {folders.data}"
    say(f"{component_name(dataset)}: {counts}, digest {loaded.digest[:16]}")


def _show(found: tuple[Availability, ...], *, as_json: bool) -> None:
    if as_json:
        print_json([dataclasses.asdict(one) for one in found])
        return
    details = ["; ".join(map(str.strip, one.detail.splitlines())) for one in found]  # a hint has its own line
    rows = [(one.name, one.status, one.n_train or "", one.n_test or "", text) for one, text in zip(found, details)]
    print_table(("dataset", "state", "train", "test", "detail"), rows)
