"""Stored separations and their table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchbench.contract import DatasetSplits, Examples
from benchbench.errors import CorruptDataError
from benchbench.leaderboard.published import published_separation
from benchbench.leaderboard.separations import (
    FILE_NAME,
    MeasuredSeparation,
    measured_separation,
    read_separations,
    record_separation,
)
from benchbench.reproduction.papers import find_table
from benchbench.reproduction.separation_table import separation_table
from benchbench.reproduction.verdicts import UNEQUAL, tally
from benchbench.separations import SeparationReport, measure


@pytest.fixture
def report() -> SeparationReport:
    pixels = torch.arange(0, 240, 20, dtype=torch.uint8).reshape(12, 1, 1, 1)
    part = Examples(inputs=pixels, labels=torch.arange(12) % 2)
    return measure(DatasetSplits(train=part, test=part, classes=("a", "b")), epsilon=0.1, exclude=(3,))


def mnist(**changes: object) -> MeasuredSeparation:
    published = {"train_train_min": 188 / 255, "train_train_mean": 0.98961}
    published |= {"test_train_min": 207 / 255, "test_train_mean": 0.98957}
    given = {"dataset": "mnist", "labels": "original", "seed": 0, "excluded": (), "n_train": 60_000, "n_test": 10_000}
    return MeasuredSeparation(**{**given, **published, "epsilon": 0.1, "report": "{}", **changes})  # type: ignore[arg-type]


def test_report_survives_the_file(report: SeparationReport, tmp_path: Path) -> None:
    record_separation(tmp_path, measured_separation("toy", report))
    (row,) = read_separations(tmp_path)
    assert row.excluded == (3,)
    assert (row.n_train, row.n_test) == (11, 12)
    assert row.separations == (report.train_train, report.test_train)


def test_new_measurement_replaces_the_old_one_of_the_same_data_and_labels(
    report: SeparationReport, tmp_path: Path
) -> None:
    for row in (mnist(train_train_min=0.5), measured_separation("toy", report), mnist(), mnist(labels="random")):
        record_separation(tmp_path, row)
    found = {(row.dataset, row.labels): row for row in read_separations(tmp_path)}
    assert set(found) == {("mnist", "original"), ("mnist", "random"), ("toy", "original")}
    assert found["mnist", "original"].train_train_min == 188 / 255


def test_measurements_with_other_seeds_or_excluded_examples_are_kept_beside_each_other(tmp_path: Path) -> None:
    rows = [
        mnist(),
        mnist(excluded=(3,)),
        mnist(excluded=(3, 5)),
        mnist(labels="random"),
        mnist(labels="random", seed=1),
    ]
    for row in rows:
        record_separation(tmp_path, row)
    assert sorted(read_separations(tmp_path), key=lambda row: row.key) == sorted(rows, key=lambda row: row.key)


def test_folder_without_measurements_has_none(tmp_path: Path) -> None:
    assert read_separations(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"PAR1 is how it starts", b"nothing of the kind"])
def test_damaged_file_is_reported(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(CorruptDataError, match="separation"):
        read_separations(tmp_path)


def test_leaderboard_is_not_taken_for_separations(tmp_path: Path) -> None:
    from benchbench.leaderboard import published_rows, write_leaderboard

    write_leaderboard(tmp_path / FILE_NAME, published_rows())
    with pytest.raises(CorruptDataError, match="does not hold separations"):
        read_separations(tmp_path)


def test_table_1_compares_minima_and_table_8_both_labels() -> None:
    first = separation_table([mnist()], find_table("neurips2020", "1"))
    assert [column.key for column in first.columns[2:]] == ["train_train_min", "test_train_min"]
    ours = [line for line in first.lines if line.entries[0].text == "mnist" and line.source == "measured"]
    assert [entry.verdict for entry in ours[0].entries[2:]] == ["agrees exactly"] * 2
    eighth = separation_table([mnist(test_train_mean=0.5)], find_table("neurips2020", "8"))
    assert [group.label for group in eighth.groups] == ["original labels", "random labels"]
    counted = [entry.verdict for line in eighth.lines for entry in line.entries if entry.verdict]
    assert (counted.count("agrees exactly"), counted.count("differs"), counted.count("not run")) == (3, 1, 28)


def test_one_draw_of_random_labels_decides_nothing_and_several_are_judged_by_their_spread() -> None:
    minima = {"train_train_min": 0.42, "test_train_min": 0.5}
    one = separation_table([mnist(labels="random", **minima)], find_table("neurips2020", "8"))
    assert tally(one)["differs"] == 0
    assert tally(one)[UNEQUAL] >= 2
    published = next(s for s in published_separation() if (s.dataset, s.labels) == ("mnist", "random"))
    draws = [
        mnist(labels="random", seed=seed, train_train_min=published.train_train_min + shift, test_train_min=0.9 + shift)
        for seed, shift in enumerate((-0.01, 0.0, 0.015))
    ]
    several = separation_table(draws, find_table("neurips2020", "8"))
    mean = next(line for line in several.lines if "3 seeds: mean" in line.entries[1].text)
    by_key = {column.key: entry for column, entry in zip(several.columns, mean.entries)}
    assert by_key["train_train_min"].verdict == "agrees"
    assert by_key["test_train_min"].verdict == "differs"
    assert tally(several).total() == tally(one).total()


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "{",
        lambda _: "[" * 100_000,
        lambda _: "{}",
        lambda text: text.replace('"histogram": [', '"histogram": ["x", '),
        lambda text: text.replace('"examples": 12', '"examples": 1e999'),
        lambda text: text.replace('"closest": [{', '"closest": [{"more": 1, '),
    ],
)
def test_report_that_cannot_be_read_is_named(report: SeparationReport, change: Callable[[str], str]) -> None:
    measured = measured_separation("toy", report)
    damaged = dataclasses.replace(measured, report=change(measured.report))
    assert damaged.report != measured.report
    with pytest.raises(CorruptDataError, match="separation of toy has no report that can be read"):
        _ = damaged.separations
    with pytest.raises(CorruptDataError, match="radius is not finite"):
        _ = dataclasses.replace(measured, epsilon=math.nan).separations
