"""Files that are damaged, truncated or gone are noticed, named, set aside and made again, to the same results."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_processes import results, run, write_suite

from benchbench.leaderboard import rebuild
from benchbench.records import RunStore


def flip_a_bit(path: Path) -> None:
    """Among the data: one in the padding of a Parquet file changes nothing and need not be noticed."""
    content = bytearray(path.read_bytes())
    content[min(60, len(content) // 2)] ^= 4
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES: dict[str, Callable[[Path], None]] = {"bit flip": flip_a_bit, "truncation": truncate, "emptiness": empty}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the suite gives where nothing is damaged."""
    place = tmp_path_factory.mktemp("sound")
    write_suite(place, attacks=["pgd-10"], defenses=["natural"])
    run(place)
    return results(place)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run, to be damaged."""
    write_suite(tmp_path, attacks=["pgd-10"], defenses=["natural"])
    run(tmp_path)
    return tmp_path


def the_file(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("pattern", ["runs/cells/*.json", "runs/outcomes/*.parquet"])
def test_damaged_record_or_outcomes_are_set_aside_and_computed_again(
    folder: Path, sound: dict[str, Any], caplog: pytest.LogCaptureFixture, pattern: str, damage: str
) -> None:
    path = the_file(folder, pattern)
    DAMAGES[damage](path)
    with caplog.at_level(logging.WARNING):
        result = run(folder)
    assert (result.finished, result.failed) == (1, 0)
    assert results(folder) == sound
    assert path.with_name(f"{path.name}.corrupt").exists()
    assert path.name in caplog.text


@pytest.mark.parametrize("damage", ["truncation", "emptiness"])
def test_truncated_witnesses_are_set_aside_and_computed_again(folder: Path, sound: dict[str, Any], damage: str) -> None:
    path = the_file(folder, "runs/witnesses/*.parquet")
    DAMAGES[damage](path)
    assert run(folder).finished == 1
    assert results(folder) == sound
    assert path.with_name(f"{path.name}.corrupt").exists()


def test_bit_flip_in_witnesses_is_noticed_by_who_reads_them_and_then_computed_again(
    folder: Path, sound: dict[str, Any]
) -> None:
    path = the_file(folder, "runs/witnesses/*.parquet")
    flip_a_bit(path)
    assert RunStore(folder / "runs").read_witnesses(path.stem) is None
    assert run(folder).finished == 1
    assert results(folder) == sound


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_is_set_aside_and_trained_again(folder: Path, sound: dict[str, Any], damage: str) -> None:
    path = the_file(folder, "runs/models/*.safetensors")
    DAMAGES[damage](path)
    the_file(folder, "runs/cells/*.json").unlink()
    run(folder)
    assert results(folder) == sound
    assert path.with_name(f"{path.name}.corrupt").exists()


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_measurements_are_set_aside_and_measured_again(
    folder: Path, sound: dict[str, Any], damage: str
) -> None:
    for path in folder.glob("runs/measurements/*/*.safetensors"):
        DAMAGES[damage](path)
    the_file(folder, "runs/cells/*.json").unlink()
    run(folder)
    assert results(folder) == sound
    assert list(folder.glob("runs/measurements/*/*.corrupt"))


@pytest.mark.parametrize("damage", [*DAMAGES, "deletion"])
def test_leaderboard_is_rebuilt_from_the_records(folder: Path, sound: dict[str, Any], damage: str) -> None:
    path = folder / "leaderboards" / "tiny.parquet"
    DAMAGES.get(damage, Path.unlink)(path)
    assert run(folder).finished == 0
    assert results(folder) == sound
    assert path.with_name(f"{path.name}.corrupt").exists() is (damage != "deletion")


@pytest.mark.parametrize("damage", [*DAMAGES, "deletion"])
def test_copy_of_the_outcomes_is_made_again(folder: Path, sound: dict[str, Any], damage: str) -> None:
    DAMAGES.get(damage, Path.unlink)(the_file(folder, "leaderboards/tiny/outcomes/*.parquet"))
    assert run(folder).finished == 0
    assert results(folder) == sound


@pytest.mark.parametrize(
    "pattern", ["runs/cells/*.json", "runs/outcomes/*", "runs/witnesses/*", "runs/models/*", "runs/measurements/*/*"]
)
def test_file_that_vanished_is_made_again(folder: Path, sound: dict[str, Any], pattern: str) -> None:
    for path in folder.glob(pattern):
        path.unlink()
    assert run(folder).failed == 0
    assert results(folder) == sound


def test_file_that_vanishes_while_records_are_read_counts_as_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(folder / "runs")
    monkeypatch.setattr(store, "record_stamps", lambda: [("0123456789abcdef.json", 1)])
    assert store.rows("tiny") == []


def test_damaged_outcomes_do_not_replace_a_sound_copy(folder: Path, sound: dict[str, Any]) -> None:
    """Not even where the run does not look at their cell, because it is of another profile or was filtered out."""
    store = RunStore(folder / "runs")
    flip_a_bit(the_file(folder, "runs/outcomes/*.parquet"))
    copy = the_file(folder, "leaderboards/tiny/outcomes/*.parquet")
    before = copy.read_bytes()
    rebuild(folder / "leaderboards" / "tiny.parquet", store, "tiny")
    assert copy.read_bytes() == before
