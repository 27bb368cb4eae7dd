"""Every figure by its name, in every format; and the message if it cannot be drawn."""

from __future__ import annotations

import dataclasses
import re
from importlib import import_module
from pathlib import Path

import pytest
from sample_rows import make_row

from benchbench.contract import DataSource
from benchbench.errors import UnknownNameError, UsageError
from benchbench.figures import FIGURES, FORMATS, Sources, draw, figures_of
from benchbench.leaderboard import published_rows, write_leaderboard
from benchbench.leaderboard.separations import measured_separation


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    from benchbench.builtin.datasets.digits import Digits
    from benchbench.separations import measure

    data = DataSource(root=tmp_path, cache=tmp_path / "cache")
    splits = Digits(scale=1).load(data)
    original, random = measure(splits, epsilon=0.1), measure(splits, random_labels=True)
    separations = [measured_separation("digits", report) for report in (original, random)]
    rows = [*published_rows(), make_row(dataset="digits")]
    return Sources(rows=rows, separations=separations, data=data)


@pytest.mark.parametrize(
    ("name", "stems"),
    [
        ("separation", ["separation-digits"]),
        ("closest-pairs", ["closest-pairs-train-digits", "closest-pairs-test-digits"]),
        ("spiral", ["spiral"]),
        ("lipschitz", ["lipschitz"]),
    ],
)
@pytest.mark.sampled(2)
def test_figure_is_written_in_every_format(name: str, stems: list[str], sources: Sources, tmp_path: Path) -> None:
    few = [row for row in sources.rows if row.dataset in ("digits", "svhn")]  # a figure of all panels takes seconds
    sources = dataclasses.replace(sources, rows=few)
    written = draw(name, sources, tmp_path / "figures", FORMATS)
    assert [path.name for path in written] == [f"{stem}.{format}" for stem in stems for format in FORMATS]
    for path in written:
        start = path.read_bytes()[:200]
        assert start.startswith(b"\x89PNG") or start.startswith(b"%PDF") or b"<svg" in path.read_bytes()


@pytest.mark.exhaustive  # computes 30,000 examples
def test_staircase_is_drawn_at_both_sizes(sources: Sources, tmp_path: Path) -> None:
    written = draw("staircase", sources, tmp_path)
    assert [path.name for path in written] == ["staircase-40.png", "staircase-30000.png"]


@pytest.mark.parametrize("suite", ["mine", "file.toml"])
def test_command_draws_the_figures_of_the_suite_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], suite: str
) -> None:
    from benchbench.cli import invoke

    monkeypatch.chdir(tmp_path)
    measures = {"test_accuracy": 0.9, "adv_test_accuracy": 0.5}
    rows = [
        make_row(cell_id=d, model_id=d, suite="mine", dataset="stripes", defense=d, **measures)
        for d in ("natural", "at")
    ]
    write_leaderboard(tmp_path / "leaderboards" / "mine.parquet", rows)
    (tmp_path / "file.toml").write_text('name = "mine"\n', encoding="utf-8")
    assert invoke(["figure", suite, "--format", "svg"]) == 0
    said = capsys.readouterr()
    assert said.out.split() == ["figures/tradeoff.svg"]
    assert [line.partition(":")[0] for line in said.err.splitlines()] == [
        "epsilon",
        "perturbations",
        "lipschitz",
        "epochs",
    ]


def test_figures_of_a_suite_are_its_own(sources: Sources) -> None:
    """A third party's suite has neither the papers' spiral nor separations of other datasets."""
    own = dataclasses.replace(sources, rows=[make_row(dataset="stripes")])
    assert figures_of(own) == ("epsilon", "perturbations", "tradeoff", "lipschitz", "epochs")
    assert {"spiral", "separation"} < set(
        figures_of(dataclasses.replace(sources, rows=[*published_rows(), make_row(dataset="digits")]))
    )
    assert "staircase" in figures_of(dataclasses.replace(sources, rows=[make_row(dataset="staircase", test_mse=0.1)]))
    with pytest.raises(UsageError, match="no separation"):
        draw("separation", own, Path("nowhere"))


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
    for name in ("separation", "closest-pairs", "epsilon", "perturbations", "tradeoff", "lipschitz", "epochs"):
        with pytest.raises(UsageError) as caught:
            draw(name, empty, tmp_path)
        assert re.search(r"benchbench|--runs|evaluation", caught.value.hint)


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
