"""A row's page: its values, its model's other attacks and radii, challenges, commands, citation, perturbations."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from sample_rows import make_row
from site_samples import EVIL, embedded, gallery, history, site, text

from benchbench.leaderboard.challenges import CHALLENGED, Challenge, challenges_folder, write_challenge
from benchbench.report.charts import radii_chart
from benchbench.report.pictures import amplified
from benchbench.report.rowpage import Relatives, bibtex_of, credits_of

ROWS = [
    make_row(cell_id=f"{attack}-{epsilon}", attack=attack, epsilon=epsilon, adv_test_accuracy=0.5 - epsilon)
    for attack in ("pgd-10", "mt-20")
    for epsilon in (0.1, 0.2)
]
OTHER = make_row(cell_id="other", model_id="other", adv_test_accuracy=0.9)


def test_other_attacks_are_of_the_same_model_and_ball_and_the_curve_of_all_radii() -> None:
    relatives = Relatives([*ROWS, OTHER])
    assert [one.cell_id for one in relatives.attacks_on(ROWS[0])] == ["mt-20-0.1", "pgd-10-0.1"]
    assert [one.cell_id for one in relatives.radii_of(ROWS[0])] == [
        "mt-20-0.1",
        "pgd-10-0.1",
        "mt-20-0.2",
        "pgd-10-0.2",
    ]
    assert relatives.attacks_on(OTHER) == relatives.radii_of(OTHER) == []
    chart = radii_chart(relatives.radii_of(ROWS[0]))
    assert chart is not None
    (points,) = chart["datasets"].values()
    assert {(one["attack"], one["epsilon"], one["value"]) for one in points} == {
        (one.attack, one.epsilon, one.adv_test_accuracy) for one in ROWS
    }


def test_page_links_the_other_attacks_and_has_commands_and_citation(tmp_path: Path) -> None:
    page = (site(tmp_path, *ROWS, OTHER) / "rows" / "pgd-10-0.1.html").read_text()
    assert '<a href="mt-20-0.1.html">mt-20</a>' in page
    assert page.count('<td class="number">200</td>') == 2
    assert 'id="radii"' in page
    assert "benchbench rerun pgd-10-0.1 --leaderboard closer-look.parquet" in page
    assert "@misc{benchbench-pgd-10-0.1,\n" in page
    other = (tmp_path / "site" / "closer-look" / "rows" / "other.html").read_text()
    assert "All attacks on this model" not in other
    assert 'id="radii"' not in other


def test_page_of_a_regression_has_the_intervals_of_its_errors(tmp_path: Path) -> None:
    ends = {"test_mse_low": 0.1, "test_mse_high": 0.3, "adv_test_mse_low": 0.4, "adv_test_mse_high": 0.6}
    rows = [
        make_row(cell_id=one, attack=one, dataset="staircase", test_mse=0.2, adv_test_mse=0.5, extra=ends)
        for one in ("exact", "other")
    ]
    page = (site(tmp_path, *rows) / "rows" / "exact.html").read_text()
    assert "<dd>0.2 <small>[0.1, 0.3]</small></dd>" in page
    assert page.count("0.5 <small>[0.4, 0.6]</small>") == 3  # its own, and both attacks on the model


def test_page_of_an_own_model_names_its_code_in_the_commands_and_what_is_unknown(tmp_path: Path) -> None:
    unknown = {"defense": None, "defense_options": None, "dropout": None}
    page = (
        site(tmp_path, make_row(cell_id="own", architecture="file:$(x)", **unknown)) / "rows" / "own.html"
    ).read_text()
    assert "benchbench verify closer-look.parquet --architecture FILE.py:CALLABLE</pre>" in page
    assert "benchbench rerun own --leaderboard closer-look.parquet --architecture FILE.py:CALLABLE</pre>" in page
    assert '<p class="copied">Attack this row again, and compare:</p>' in page
    assert "<code>dropout</code></th><td>unknown</td>" in page
    assert "<td><code>measured</code> or <code>published</code></td>" in page


def test_published_rows_have_no_commands(tmp_path: Path) -> None:
    row = make_row(cell_id="published", source="published", published_source="neurips2020", published_table="3")
    page = (site(tmp_path, row) / "rows" / "published.html").read_text()
    assert "benchbench rerun" not in page
    assert "published in NeurIPS 2020, table 3" in page


def test_citation_has_balanced_braces_and_no_bare_special_characters() -> None:
    entry = bibtex_of(make_row(defense="x{y}}_z%", adv_test_accuracy=0.25))
    assert entry.count("{") == entry.count("}")
    assert r"x(y))\_z\%" in entry
    assert r"adv\_test\_accuracy 0.2500 on 200 test examples" in entry


def test_challenges_are_credited_by_the_examples_that_they_break(tmp_path: Path) -> None:
    row = make_row(extra={CHALLENGED: 0.4})
    board = tmp_path / "closer-look.parquet"
    for by, index in (("Ann", [1, 2]), ("Ann", [2, 3]), ("Bob", [1, 2, 3, 4])):
        images = np.zeros((len(index), 1, 2, 2), dtype=np.float32)
        write_challenge(challenges_folder(board, row), Challenge(by=by, index=np.array(index), images=images))
    assert credits_of(row, board) == [("Bob", 4), ("Ann", 3)]
    assert credits_of(make_row(), board) == []
    page = (site(tmp_path, row) / "rows" / f"{row.cell_id}.html").read_text()
    assert "at most <strong>40.00 %</strong>" in page
    assert "Bob: 4 test examples broken" in page


def test_perturbation_is_amplified_around_grey_until_its_largest_change_is_black_or_white() -> None:
    clean = np.full((1, 1, 3), 0.5, dtype=np.float32)
    pixels, factor = amplified(clean, clean + np.array([[[0.25, -0.125, 0.0]]], dtype=np.float32))
    assert factor == 2.0
    assert pixels.tolist() == [[[1.0, 0.25, 0.5]]]
    assert amplified(clean, clean)[1] == 1.0


def test_page_of_a_row_shows_what_metrics_measured_beyond_the_columns(tmp_path: Path) -> None:
    values = {"certified_accuracy": 0.5, "certified_accuracy_low": 0.4, "certified_accuracy_high": 0.6, "radius": 2.0}
    rows = (make_row(cell_id="certified", extra={**values, EVIL: 1.0}), make_row(cell_id="plain"))
    folder = site(tmp_path, *rows) / "rows"
    page = text(folder / "certified.html")
    assert "Other values of its metrics" in page
    assert re.search(
        r"<code>certified_accuracy</code></th><td[^>]*>50.00 %</td><td[^>]*>\[40.00 %, 60.00 %\]</td>", page
    )
    assert re.search(r"<code>radius</code></th><td[^>]*>2</td>", page)
    assert EVIL not in page
    assert "Other values of its metrics" not in text(folder / "plain.html")


def test_row_page_has_configuration_provenance_training_and_images(tmp_path: Path) -> None:
    folder = site(tmp_path, history=history, gallery=gallery)
    page = text(folder / "rows" / "cell-at.html")
    assert "dataset_digest" in page
    assert "SHA-256 of the loaded data" in page
    assert embedded(page, "charts").keys() == {"training"}
    assert page.count('src="data:image/png;base64,') == 3  # before, after, and the difference
    assert "change &times;5" in page  # of 0.1
    assert "Example 7, class seven: broken" in page
    assert "A remark." in page
    assert "data:image" not in text(folder / "rows" / "published-1.html")


def test_the_page_of_a_row_shows_the_flags_that_the_board_shows(tmp_path: Path) -> None:
    """A flag about the model that another attack's diagnostics found."""
    flagged = make_row(cell_id="pgd", attack="pgd-10", adv_test_accuracy=0.9, flags=("random-model",))
    folder = site(tmp_path, flagged, make_row(cell_id="mt", attack="mt-20", adv_test_accuracy=0.8))
    (page,) = folder.rglob("mt.html")
    assert "random-model" in text(page)
