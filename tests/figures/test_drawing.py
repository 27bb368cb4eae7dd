"""Every figure by its name, in every format; and the message if it cannot be drawn."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from pathlib import Path

import pytest
from sample_rows import make_row

from benchbench.contract import DataSource
from benchbench.errors import UnknownNameError, UsageError
from benchbench.figures import FIGURES, FORMATS, Sources, draw
from benchbench.figures.lipschitz import lipschitz_figure
from benchbench.leaderboard import published_rows
from benchbench.leaderboard.separations import measured_separation
from benchbench.records import Row


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    from benchbench.builtin.datasets.digits import Digits
    from benchbench.separations import measure

    data = DataSource(root=tmp_path, cache=tmp_path / "cache")
    splits = Digits(scale=1).load(data)
    original, random = measure(splits, epsilon=0.1), measure(splits, random_labels=True)
    separations = [measured_separation("digits", report) for report in (original, random)]
    return Sources(rows=published_rows(), separations=separations, data=data)


@pytest.mark.parametrize(
    ("name", "stems"),
    [
        ("separation", ["separation-digits"]),
        ("closest-pairs", ["closest-pairs-train-digits", "closest-pairs-test-digits"]),
        ("spiral", ["spiral"]),
        ("lipschitz", ["lipschitz"]),
    ],
)
def test_figure_is_written_in_every_format(name: str, stems: list[str], sources: Sources, tmp_path: Path) -> None:
    written = draw(name, sources, tmp_path / "figures", FORMATS)
    assert [path.name for path in written] == [f"{stem}.{format}" for stem in stems for format in FORMATS]
    for path in written:
        start = path.read_bytes()[:200]
        assert start.startswith(b"\x89PNG") or start.startswith(b"%PDF") or b"<?xml" in start


def test_staircase_is_drawn_at_both_sizes(sources: Sources, tmp_path: Path) -> None:
    written = draw("staircase", sources, tmp_path)
    assert [path.name for path in written] == ["staircase-40.png", "staircase-30000.png"]


def test_lipschitzness_has_a_panel_for_each_setting_and_marks_ours() -> None:
    ours = [
        make_row(
            cell_id=f"c{place}", defense=defense, test_lipschitz=5.0, adv_test_accuracy=0.9, adv_test_accuracy_low=0.8
        )
        for place, defense in enumerate(["natural", "at"])
    ]
    figure = lipschitz_figure([*ours, *published_rows()])
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert "mnist, cnn2, linf epsilon 0.1" in titles
    assert len(titles) == 7
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[-2:] == ["published", "ours, quick profile"]


def test_measured_rows_share_a_panel_of_lipschitzness_only_with_their_own_setting() -> None:
    def pair(**columns: object) -> list[Row]:
        measures = {"test_lipschitz": 5.0, "adv_test_accuracy": 0.9}
        return [make_row(defense=defense, **{**measures, **columns}) for defense in ("natural", "at")]

    networks = [pair(architecture="mlp", architecture_options=f'{{"hidden":[{n}]}}') for n in (64, 128)]
    epochs = [pair(dataset="digits", epochs=n) for n in (2, 9)]
    figure = lipschitz_figure([row for rows in (*networks, *epochs) for row in rows])
    titles = {axes.get_title().replace("\n", " ") for axes in figure.axes if axes.get_title()}
    assert titles == {
        "mnist, mlp (hidden=[64]), linf epsilon 0.1",
        "mnist, mlp (hidden=[128]), linf epsilon 0.1",
        "digits, cnn2, linf epsilon 0.1, epochs 2",
        "digits, cnn2, linf epsilon 0.1, epochs 9",
    }


def test_measurements_of_one_dataset_are_drawn_under_distinct_names(sources: Sources, tmp_path: Path) -> None:
    original, random = sources.separations
    several = [original, dataclasses.replace(original, excluded=(3,)), random, dataclasses.replace(random, seed=1)]
    drawn = {}
    from matplotlib.figure import Figure

    def histogram(parts: dict[str, object], *, title: str) -> Figure:
        drawn.update(parts)
        return Figure()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("benchbench.figures.separations"), "histogram_figure", histogram)
        draw("separation", dataclasses.replace(sources, separations=several), tmp_path)
    assert len(drawn) == 8
    written = draw("closest-pairs", dataclasses.replace(sources, separations=several), tmp_path)
    assert len(set(written)) == 4


def test_message_without_measurements_names_the_command_that_measures(tmp_path: Path) -> None:
    empty = Sources(rows=(), separations=(), data=DataSource(root=tmp_path, cache=tmp_path))
    for name in ("separation", "closest-pairs", "lipschitz"):
        with pytest.raises(UsageError, match="benchbench"):
            draw(name, empty, tmp_path)


@pytest.mark.parametrize(("name", "formats"), [("spirals", ("png",)), ("spiral", ("jpg",))])
def test_unknown_names_are_answered_with_the_nearest(
    name: str, formats: tuple[str, ...], sources: Sources, tmp_path: Path
) -> None:
    with pytest.raises(UnknownNameError):
        draw(name, sources, tmp_path, formats)


def test_command_offers_every_figure() -> None:
    from benchbench.cli.figure import FORMATS as OFFERED_FORMATS
    from benchbench.cli.figure import NAMES

    assert set(FIGURES) == set(NAMES)
    assert OFFERED_FORMATS == FORMATS
