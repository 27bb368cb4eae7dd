"""The descriptions of data of known content are those of the data; ``python tests/data/test_describing.py`` writes them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchbench.cell.model import Component, digest
from benchbench.contract import DataSource, MissingDataError
from benchbench.data.describing import DESCRIPTIONS, describe, described
from benchbench.data.loading import load_dataset
from benchbench.registry import load_registry
from benchbench.suite import read_suite

REGISTRY = load_registry()


def of_the_suites() -> dict[str, Component]:
    """The datasets of the shipped suites, by digest."""
    suites = [read_suite(name, REGISTRY) for name in ("closer-look", "smoke")]
    experiments = [one for suite in suites for profile in suite.profiles for one in suite.profile(profile)]
    datasets = [
        one
        for experiment in experiments
        for one in (experiment.dataset, *(d for x in experiment.defenses for d in x.extra_datasets.values()))
    ]
    return {digest(one): one for one in datasets}


def source(cache: Path) -> DataSource:
    return DataSource(root=Path(os.environ.get("BENCHBENCH_DATA", cache)), cache=cache)


def test_described_data_are_those_of_the_suites_that_need_no_large_download() -> None:
    known, named = json.loads(DESCRIPTIONS.read_text(encoding="utf-8")), of_the_suites()
    assert {named[key].name for key in known} == {"mnist", "digits", "spiral", "staircase"}
    assert {one.name for one in named.values()} - {named[key].name for key in known} == {
        *("cifar-10", "svhn", "restricted-imagenet")
    }


@pytest.mark.parametrize("key", json.loads(DESCRIPTIONS.read_text(encoding="utf-8")))
def test_description_is_that_of_the_data(key: str, tmp_path: Path) -> None:
    component = of_the_suites()[key]
    try:
        found = described(REGISTRY, component, source(tmp_path))
    except MissingDataError:
        pytest.skip(f"no {component.name} here")
    assert found is not None
    assert describe(found) == describe(load_dataset(REGISTRY, component, source(tmp_path)))


def test_described_data_whose_files_are_missing_are_missing(tmp_path: Path) -> None:
    mnist = REGISTRY.resolve("dataset", "mnist", {})
    with pytest.raises(MissingDataError):
        described(REGISTRY, mnist, DataSource(root=tmp_path, cache=tmp_path))


if __name__ == "__main__":
    written = {}
    for key, component in of_the_suites().items():
        try:
            written[key] = describe(load_dataset(REGISTRY, component, source(Path("none"))))
        except MissingDataError as error:
            print(error)
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(one)}" for key, one in sorted(written.items()))
    Path(str(DESCRIPTIONS)).write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
