"""Merging: equal results are kept once, conflicts listed, other protocols refused; and the command."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sample_rows import make_row

from benchbench.cli import invoke
from benchbench.errors import DataError
from benchbench.leaderboard import files, merging, read_rows, write_leaderboard
from benchbench.leaderboard.merging import Merged, merge
from benchbench.leaderboard.published import published_rows
from benchbench.records import Row, Rows
from benchbench.records.arrays import content_digest, to_array, write_arrays
from benchbench.records.claims import Claims

FIRST = make_row(cell_id="a", adv_test_accuracy=0.5, train_seconds=1.0, device="cpu")
OTHER = make_row(cell_id="b", defense="at", adv_test_accuracy=0.7)


def test_equal_results_count_once_with_the_first_provenance() -> None:
    again = dataclasses.replace(FIRST, train_seconds=9.0, device="cuda", git_commit="abc")
    merged = merge({"A": [FIRST], "B": [again, OTHER]})
    assert merged.rows == (FIRST, OTHER)
    assert (merged.repeated, merged.conflicts) == (1, ())


def test_different_result_is_a_conflict_that_names_cell_files_and_columns() -> None:
    merged = merge({"A": [FIRST], "B": [dataclasses.replace(FIRST, adv_test_accuracy=0.6)]})
    (conflict,) = merged.conflicts
    assert conflict.columns == {"adv_test_accuracy": (0.5, 0.6)}
    assert all(word in str(conflict) for word in ("cell a", "A", "B", "adv_test_accuracy", "0.5", "0.6"))
    assert merged.rows == (FIRST,)


def test_finished_row_replaces_a_failed_one_in_either_order() -> None:
    failed = make_row(cell_id="a", status="failed", error="out of memory")
    for boards in ({"A": [failed], "B": [FIRST]}, {"A": [FIRST], "B": [failed]}):
        merged = merge(boards)
        assert (merged.rows, merged.conflicts) == ((FIRST,), ())


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("protocol", "other-2"),
        ("n_test", 100),
        ("n_train", 7),
        ("n_train_evaluated", 7),
        ("trained_on", "train+test"),
        ("dataset_digest", "cd" * 32),
    ],
)
def test_other_protocol_subset_or_data_is_refused_with_the_reason(column: str, value: object) -> None:
    theirs = dataclasses.replace(OTHER, **{column: value})  # type: ignore[arg-type]
    with pytest.raises(DataError) as caught:
        merge({"A": [FIRST], "B": [theirs]})
    assert column in caught.value.message
    assert "A" in caught.value.message


def test_other_suite_is_refused() -> None:
    with pytest.raises(DataError, match="different suites"):
        merge({"A": [FIRST], "B": [make_row(suite="elsewhere", cell_id="c")]})


def test_other_profiles_and_options_of_the_dataset_are_merged_side_by_side() -> None:
    paper = make_row(cell_id="p", profile="paper", n_train=60_000)
    scaled = make_row(
        cell_id="s",
        n_test=9,
        configuration='{"training":{"dataset":{"options":{"scale":2}}}}',
    )
    assert len(merge({"A": [FIRST], "B": [paper, scaled]}).rows) == 3


def board(folder: Path, *rows: Row) -> Path:
    write_leaderboard(folder / "closer-look.parquet", rows)
    return folder / "closer-look.parquet"


def test_command_writes_rows_with_the_evidence_beside_them(tmp_path: Path) -> None:
    outcomes = {"index": to_array("index", [1, 2])}
    digest = content_digest(outcomes)
    (tmp_path / "b" / "closer-look" / "outcomes").mkdir(parents=True)
    write_arrays(tmp_path / "b" / "closer-look" / "outcomes" / f"{digest}.parquet", outcomes)
    theirs = dataclasses.replace(OTHER, outcomes_digest=digest)
    files = [str(board(tmp_path / "a", FIRST)), str(board(tmp_path / "b", theirs))]
    out = tmp_path / "c" / "closer-look.parquet"
    assert invoke(["leaderboard", "merge", *files, "--out", str(out)]) == 0
    assert {row.cell_id for row in read_rows(out)} == {"a", "b"}
    assert (tmp_path / "c" / "closer-look" / "outcomes" / f"{digest}.parquet").is_file()


def test_an_intact_copy_of_evidence_takes_the_place_of_damaged_ones(tmp_path: Path) -> None:
    outcomes = {"index": to_array("index", [1, 2])}
    row = dataclasses.replace(FIRST, outcomes_digest=content_digest(outcomes))
    copies = {name: tmp_path / name / "closer-look" / "outcomes" / f"{row.outcomes_digest}.parquet" for name in "abc"}
    for copy in copies.values():
        copy.parent.mkdir(parents=True)
    write_arrays(copies["b"], outcomes)
    copies["a"].write_bytes(copies["b"].read_bytes()[:-9])
    copies["c"].write_bytes(copies["b"].read_bytes()[:-8])
    boards = [str(board(tmp_path / name, row)) for name in "ab"]
    assert invoke(["leaderboard", "merge", *boards, "--out", str(tmp_path / "c" / "closer-look.parquet")]) == 0
    assert copies["c"].read_bytes() == copies["b"].read_bytes()


def test_a_damaged_copy_alone_is_no_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = dataclasses.replace(FIRST, outcomes_digest="a" * 64)
    copy = tmp_path / "a" / "closer-look" / "outcomes" / f"{'a' * 64}.parquet"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"PAR1 but no more")
    boards = [str(board(tmp_path / "a", row)), str(board(tmp_path / "b", OTHER))]
    assert invoke(["leaderboard", "merge", *boards, "--out", str(tmp_path / "c" / "closer-look.parquet")]) == 0
    assert "2 rows without evidence: a, b" in capsys.readouterr().out


def test_command_holds_the_file_that_it_reads_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = board(tmp_path / "a", FIRST), board(tmp_path / "b", OTHER)
    free = []

    def watched(boards: dict[str, Rows]) -> Merged:
        with Claims(one.parent / one.stem / "claims").held("leaderboard") as mine:
            free.append(mine)
        return merge(boards)

    monkeypatch.setattr(merging, "merge", watched)
    assert invoke(["leaderboard", "merge", str(one), str(two), "--out", str(one)]) == 0
    assert free == [False]


def test_command_writes_nothing_on_conflicts_without_keep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = dataclasses.replace(FIRST, adv_test_accuracy=0.6)
    files = [str(board(tmp_path / "a", FIRST)), str(board(tmp_path / "b", theirs))]
    arguments = ["leaderboard", "merge", *files, "--out", str(tmp_path / "c.parquet")]
    assert invoke([*arguments, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["conflicts"][0]["cell_id"] == "a"
    assert not (tmp_path / "c.parquet").exists()
    assert invoke([*arguments, "--keep", "first"]) == 1
    assert read_rows(tmp_path / "c.parquet") == [FIRST]


def test_command_refuses_one_file_or_a_damaged_one(tmp_path: Path) -> None:
    file = board(tmp_path, FIRST)
    (tmp_path / "half.parquet").write_bytes(file.read_bytes()[:-100])
    out = str(tmp_path / "out.parquet")
    assert invoke(["leaderboard", "merge", str(file), "--out", out]) == 2
    assert invoke(["leaderboard", "merge", str(file), str(tmp_path / "half.parquet"), "--out", out]) == 2
    assert not Path(out).exists()


def test_command_names_the_rows_without_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = {"index": to_array("index", [0, 1])}
    digest = content_digest(arrays)
    for kind in ("outcomes", "witnesses"):
        (tmp_path / "one" / "closer-look" / kind).mkdir(parents=True)
        write_arrays(tmp_path / "one" / "closer-look" / kind / f"{digest}.parquet", arrays)
    shown = dataclasses.replace(FIRST, outcomes_digest=digest, witnesses_digest=digest)
    printed = published_rows()[0]
    forged = dataclasses.replace(published_rows()[1], adv_test_accuracy=0.99)
    one = board(tmp_path / "one", shown, printed, forged)
    two = board(tmp_path / "two", dataclasses.replace(OTHER, outcomes_digest=digest), make_row(cell_id="c", seed=3))
    arguments = ["leaderboard", "merge", str(one), str(two), "--out", str(tmp_path / "all" / "closer-look.parquet")]
    assert invoke(arguments) == 0
    assert f"3 rows without evidence: b, c, {forged.cell_id}\n" in capsys.readouterr().out
    assert invoke([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["without_evidence"] == ["b", "c", forged.cell_id]


def test_what_is_left_out_is_told_in_the_order_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boards = [tmp_path / f"{name}.parquet" for name in "abc"]
    for board in boards:
        write_leaderboard(board, [FIRST, OTHER])
        table = pq.read_table(board)
        column = table.column_names.index("test_accuracy")
        pq.write_table(table.set_column(column, table.schema.field(column), pa.array([7.0, 0.5])), board)
    read = files.read_bytes

    def slow_for_the_first(path: Path) -> bytes | None:
        time.sleep(0.3 * (path == boards[0]))
        return read(path)

    monkeypatch.setattr(files, "read_bytes", slow_for_the_first)
    assert invoke(["leaderboard", "merge", *map(str, boards), "--out", str(tmp_path / "out.parquet"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["left_out"]
    assert [line.partition(":")[0] for line in told] == list(map(str, boards))
