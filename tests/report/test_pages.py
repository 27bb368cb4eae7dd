"""The pages as files: content, escaping, downloads, and troubles."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from contender_samples import contender, share
from PIL import Image
from sample_rows import make_row
from site_samples import ROWS, embedded_rows, gallery, history, site

from benchbench.cli import invoke
from benchbench.leaderboard import read_rows, write_leaderboard
from benchbench.leaderboard.separations import read_separations, record_separation
from benchbench.report import Board, Contents, Trouble, write_site
from benchbench.report.boards import board_csv, board_data
from benchbench.report.gathering import choose_specimens, is_picture
from benchbench.report.pictures import png_address
from benchbench.report.ranked import method_spreads, ranked_boards

EVIL = '</script><script>window.pwned=1</script><img src=x onerror="window.pwned=1">'


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def embedded(page: str, name: str) -> dict[str, object]:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return dict(json.loads(found.group(1)))


def test_board_carries_all_rows_with_values_and_intervals(tmp_path: Path) -> None:
    rows = {row["id"]: row for row in embedded_rows(site(tmp_path) / "index.html")}
    assert len(rows) == 5
    assert rows["cell-at"]["adv_test_accuracy"] == pytest.approx([0.7, 0.65, 0.75])
    assert rows["cell-masked"]["remarks"] == "flag: zero-gradients"
    assert rows["cell-failed"]["remarks"] == "failed: out of memory"
    assert rows["published-1"]["source"] == "NeurIPS 2020, table 3"
    assert "test_mse" not in rows["cell-at"]
    assert {row["id"] for row in rows.values() if row["flagged"]} == {"cell-masked"}
    assert all(row["page"] for row in rows.values())


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


def test_ours_are_beside_the_published_number_of_the_same_method() -> None:
    from site_samples import PUBLISHED

    order = [row["id"] for row in board_data((*ROWS, PUBLISHED))["rows"]]
    assert order.index("published-1") == order.index("cell-at") + 1


def test_variation_shows_the_difference_between_rows_of_one_method() -> None:
    rows = [
        make_row(cell_id="seen", trained_on="train+test"),
        make_row(cell_id="bf16", precision="bf16", attack_options='{"variant":"released"}'),
        make_row(cell_id="trained", train_precision="bf16"),
        make_row(cell_id="small", dataset="staircase", n_train=40),
        make_row(cell_id="short", profile="short", augmentation="crop4+flip"),
    ]
    data = board_data(rows)
    keys = [column["key"] for column in data["columns"]]
    assert keys.index("profile") == keys.index("source") + 1
    variations = {row["id"]: row["cells"][keys.index("variation")] for row in data["rows"]}
    assert variations == {
        "seen": "TEST SET seen",
        "bf16": "attack: released, searched in bf16",
        "trained": "trained in bf16",
        "small": "40 training examples",
        "short": "crop4+flip",
    }


def test_suite_page_has_training_curves_images_and_separations_of_its_datasets(tmp_path: Path) -> None:
    measured = read_separations(Path(__file__).parents[2] / "leaderboards")
    assert {one.dataset for one in measured} > {"mnist"}
    page = text(site(tmp_path, history=history, gallery=gallery, separations=measured) / "index.html")
    drawn = sum(name.startswith("separation-") for name in embedded(page, "charts"))
    assert drawn == sum(one.dataset == "mnist" for one in measured)
    assert "epochs" in embedded(page, "charts")
    assert page.count('src="data:image/png;base64,') == 2 * 4  # each measured model, before and after


def test_variation_shows_a_difference_in_a_column_that_the_table_lacks() -> None:
    rows = [make_row(cell_id="short"), make_row(cell_id="long", epochs=9), make_row(cell_id="other", seed=1)]
    data = board_data(rows)
    place = [column["key"] for column in data["columns"]].index("variation")
    assert {row["id"]: row["cells"][place] for row in data["rows"]} == {
        "short": "epochs 2",
        "long": "epochs 9",
        "other": "",
    }


def test_networks_of_other_options_are_called_by_them() -> None:
    data = board_data([make_row(architecture="mlp", architecture_options='{"hidden":[64]}')])
    place = [column["key"] for column in data["columns"]].index("architecture")
    assert data["rows"][0]["cells"][place] == "mlp (hidden=[64])"


def test_separations_of_one_dataset_are_variations_apart(tmp_path: Path) -> None:
    (one, *_) = read_separations(Path(__file__).parents[2] / "leaderboards")
    measured = [dataclasses.replace(one, dataset="mnist", labels="random", seed=seed) for seed in (0, 1)]
    measured.append(dataclasses.replace(one, dataset="mnist", excluded=(3, 5)))
    page = text(site(tmp_path, separations=measured) / "index.html")
    for label in ("random labels, seed 0", "random labels, seed 1", "its own labels, without training examples 3, 5"):
        assert f"<td>{label}</td>" in page
        assert f"<figcaption>mnist, {label}</figcaption>" in page


def test_spreads_are_by_radius_and_seeds_without_spread_have_no_interval(tmp_path: Path) -> None:
    found = tuple(
        contender(f"at{epsilon}-{seed}", ("pgd", share(count)), defense="at", epsilon=epsilon, seed=seed)
        for epsilon, counts in ((0.1, (90, 80)), (0.2, (50, 50)))
        for seed, count in enumerate(counts)
    )
    board = Board(path=tmp_path, rows=tuple(c.row for c in found), contenders=found)
    assert [(name, profile, one.mean, one.low is None) for name, profile, one in method_spreads(board)] == [
        ("mnist cnn2 AT, epsilon 0.1", "quick", pytest.approx(0.85), False),
        ("mnist cnn2 AT, epsilon 0.2", "quick", pytest.approx(0.5), True),
    ]
    write_leaderboard(tmp_path / "board.parquet", board.rows)
    filed = dataclasses.replace(board, path=tmp_path / "board.parquet")
    write_site(Contents(boards=(filed,)), tmp_path / "site")
    assert "no spread" in text(tmp_path / "site" / board.suite / "index.html")
    assert len({one.caption for found in ranked_boards(board).values() for one in found}) == 2


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


def test_no_page_names_another_host(tmp_path: Path) -> None:
    folder = site(tmp_path, history=history, gallery=gallery).parent
    pages = list(folder.rglob("*.html"))
    assert len(pages) == 7
    for page in pages:
        assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", text(page))
        assert "https://" not in text(page)


def test_markup_in_a_leaderboard_stays_text(tmp_path: Path) -> None:
    rows = [
        make_row(cell_id="evil", defense=EVIL, experiment=EVIL, device=EVIL, configuration=json.dumps({EVIL: EVIL})),
        make_row(cell_id="worse", dataset=EVIL, flags=(EVIL,), attack=EVIL, test_lipschitz=1.0, adv_test_accuracy=0.5),
        make_row(cell_id="failed", status="failed", error=EVIL),
    ]
    folder = site(tmp_path, *rows)
    for page in folder.parent.rglob("*.html"):
        assert "<script>window" not in text(page)
        assert "<img src=x" not in text(page)


def test_the_page_of_a_row_shows_the_flags_that_the_board_shows(tmp_path: Path) -> None:
    """A flag about the model that another attack's diagnostics found."""
    flagged = make_row(cell_id="pgd", attack="pgd-10", adv_test_accuracy=0.9, flags=("random-model",))
    folder = site(tmp_path, flagged, make_row(cell_id="mt", attack="mt-20", adv_test_accuracy=0.8))
    (page,) = folder.rglob("mt.html")
    assert "random-model" in text(page)


def test_downloads_are_the_file_itself_and_every_column(tmp_path: Path) -> None:
    folder = site(tmp_path)
    assert (folder / "closer-look.parquet").read_bytes() == (tmp_path / "closer-look.parquet").read_bytes()
    records = list(csv.DictReader(io.StringIO(text(folder / "closer-look.csv"))))
    assert len(records) == 5
    assert {record["cell_id"]: record["adv_test_accuracy"] for record in records}["cell-at"] == "0.7"


def test_csv_holds_no_formula() -> None:
    record = next(csv.DictReader(io.StringIO(board_csv([make_row(experiment="=HYPERLINK(1)", error="a\nb")]))))
    assert record["experiment"] == "'=HYPERLINK(1)"
    assert record["error"] == "a\nb"


def test_images_of_one_and_three_channels_become_pngs() -> None:
    import base64

    pixels = np.zeros((3, 2, 5), dtype=np.float32)
    pixels[0] = 1.0
    content = base64.b64decode(png_address(pixels).partition(",")[2])
    image = Image.open(io.BytesIO(content))
    assert (image.size, image.getpixel((0, 0))) == ((5, 2), (255, 0, 0))
    assert is_picture((1, 28, 28))
    assert not is_picture((2,))
    assert not is_picture((4, 8, 8))


def test_broken_examples_are_shown_first_and_some_that_withstood() -> None:
    correct = np.ones(100, dtype=bool)
    robust = np.arange(100) >= 50
    assert choose_specimens(correct, robust) == [*range(9), 50, 51, 52]
    assert choose_specimens(np.zeros(3, dtype=bool), np.zeros(3, dtype=bool)) == [0, 1, 2]


def test_troubles_are_named_on_the_index(tmp_path: Path) -> None:
    write_site(Contents(boards=(), troubles=(Trouble(path=Path("x.parquet"), message=f"newer {EVIL}"),)), tmp_path)
    page = text(tmp_path / "index.html")
    assert "x.parquet" in page
    assert "&lt;/script&gt;" in page


def test_command_shows_good_files_and_rows_beside_bad_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    boards = tmp_path / "boards"
    good = boards / "good.parquet"
    write_leaderboard(good, ROWS)
    (boards / "empty.parquet").write_bytes(b"")
    (boards / "half.parquet").write_bytes(good.read_bytes()[:-50])
    pq.write_table(pa.table({"a": [1]}), boards / "foreign.parquet")
    table = pq.read_table(good)
    newer = {**table.schema.metadata, b"benchbench.schema_version": b"99"}
    pq.write_table(table.replace_schema_metadata(newer), boards / "newer.parquet")
    column = table.schema.get_field_index("test_lipschitz")
    spoilt = table.set_column(column, table.schema.field(column), pa.array([float("nan"), 20.0, 1.0]))
    two = [name if name != "closer-look" else "mixed" for name in spoilt["suite"].to_pylist()]
    two[2] = "another"
    place = table.schema.get_field_index("suite")
    pq.write_table(spoilt.set_column(place, table.schema.field(place), pa.array(two)), boards / "mixed.parquet")
    before = {path: path.read_bytes() for path in boards.iterdir()}
    assert invoke(["report", "--out", str(tmp_path / "site"), "--leaderboards", str(boards)]) == 1
    shown = capsys.readouterr().err
    for name, reason in {"empty": "empty", "half": "truncated", "foreign": "not a benchbench", "newer": "99"}.items():
        assert f"{name}.parquet" in shown
        assert reason in shown
    assert "nan" in shown
    assert "'another'" in shown
    assert max(line.count("empty.parquet") for line in shown.splitlines()) == 1
    assert len(embedded_rows(tmp_path / "site" / "closer-look" / "index.html")) == 3
    assert len(embedded_rows(tmp_path / "site" / "mixed" / "index.html")) == 1
    assert {path: path.read_bytes() for path in boards.iterdir()} == before
    assert read_rows(good)


def test_damaged_separations_are_named_beside_the_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (one, *_) = read_separations(Path(__file__).parents[2] / "leaderboards")
    write_leaderboard(tmp_path / "good.parquet", ROWS)
    record_separation(tmp_path, dataclasses.replace(one, report="{"))
    assert invoke(["report", "--out", str(tmp_path / "site"), "--leaderboards", str(tmp_path)]) == 1
    assert "has no report that can be read" in capsys.readouterr().err
    assert (tmp_path / "site" / "closer-look" / "index.html").exists()


def test_command_without_leaderboards_says_what_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["report", "--out", str(tmp_path / "site"), "--leaderboards", str(tmp_path)]) == 2
    assert "benchbench run" in capsys.readouterr().err


def test_interrupted_report_leaves_whole_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = site(tmp_path).parent
    before = {path: path.read_bytes() for path in pages.rglob("*") if path.is_file()}
    write = Path.write_bytes

    def interrupted(path: Path, content: bytes) -> int:
        write(path, content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        site(tmp_path)
    assert before
    assert {path: path.read_bytes() for path in before} == before


def test_a_suite_is_named_as_for_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boards = tmp_path / "boards"
    write_leaderboard(boards / "closer-look.parquet", [make_row()])
    assert invoke(["report", "closer-look", "--out", str(tmp_path / "site"), "--leaderboards", str(boards)]) == 0
    assert "closer-look" in (tmp_path / "site" / "index.html").read_text()
    assert invoke(["report", "closer-lok", "--out", str(tmp_path / "other"), "--leaderboards", str(boards)]) == 1
    assert f"there is no leaderboard {boards / 'closer-lok.parquet'}" in capsys.readouterr().err
