"""``benchbench data``: list, fetch and verify datasets."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchbench.cli.options import data_option, json_option
from benchbench.cli.printing import print_json, print_table
from benchbench.registry import load_registry
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
    """List the datasets and whether their files are there."""
    from benchbench.data import availability

    _show(availability(load_registry(), find_folders(data=data).source()), as_json=as_json)


@command.command(name="verify")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@data_option
@json_option
def verify_datasets(names: tuple[str, ...], data: Path | None, as_json: bool) -> int:
    """Read datasets and verify their checksums; exit status 1 when one is damaged."""
    from benchbench.data import verify

    registry = load_registry()
    for name in names:
        registry.get("dataset", name)
    found = verify(registry, find_folders(data=data).source(), names or None)
    _show(found, as_json=as_json)
    return 1 if any(one.status == "corrupt" or (names and one.status != "available") for one in found) else 0


@command.command(name="fetch")
@click.argument("name")
@data_option
def fetch_dataset(name: str, data: Path | None) -> None:
    """Download the dataset NAME into the data root, or build its cache."""
    from benchbench.data import fetch

    folders = find_folders(data=data)
    folders.data.mkdir(parents=True, exist_ok=True)
    loaded = fetch(load_registry(), folders.source(download=True), name)
    train, test = len(loaded.splits.train), len(loaded.splits.test)
    click.echo(f"{name}: {train} training and {test} test examples in {folders.data}, digest {loaded.digest[:16]}")


def _show(found: tuple[Availability, ...], *, as_json: bool) -> None:
    if as_json:
        print_json([dataclasses.asdict(one) for one in found])
        return
    rows = [(one.name, one.status, one.n_train or "", one.n_test or "", one.detail) for one in found]
    print_table(("dataset", "state", "train", "test", "detail"), rows)
