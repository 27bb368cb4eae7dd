"""A disk that fills up: one message ends the run, nothing is recorded as failed, and the same command goes on later."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.conftest import Answer
from run_processes import EXHAUSTIVE, rows, write_suite
from safetensors import SafetensorError
from sample_rows import make_row

import benchbench.evaluation.attacking
from benchbench.atomic import full_disk, storage_errors, write_atomically
from benchbench.cli import invoke
from benchbench.contract import BatchLoss, Offer, hookimpl
from benchbench.errors import DataError, StorageError
from benchbench.leaderboard import write_leaderboard
from benchbench.records import RunStore

PAGE = 4096  # what a file on a tmpfs takes at least
SIZE = 256  # pages
LEVELS = range(40) if EXHAUSTIVE else (1, 3, 9, 19)


class Disk:
    """A small disk of its own, and a file that fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def leave(self, pages: int) -> None:
        """Fill all but some pages of what is free."""
        filler = self.folder / "filler"
        filler.unlink(missing_ok=True)
        free = os.statvfs(self.folder).f_bavail
        filler.write_bytes(bytes(PAGE * max(free - pages, 0)))

    def clear(self) -> None:
        """Make room again."""
        (self.folder / "filler").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A tmpfs; skips where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE * PAGE}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run a command in process, in the test's folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Answer:
        capsys.readouterr()
        status = invoke([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Answer(status=status, out=said.out, err=said.err)

    return run


def check_one_message(answer: Answer) -> None:
    assert answer.status == 2
    assert answer.err.count("no space left on the disk") == 1, answer.err
    assert "error: " in answer.err
    assert "FAILED" not in answer.err
    assert "Traceback" not in answer.err


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix == ".tmp" or ".failed" in path.name]


def test_run_on_a_disk_that_fills_up_at_any_write(disk: Disk, command: Any, tmp_path: Path) -> None:
    write_suite(tmp_path, defenses=["natural"])
    arguments = ("run", "--suite", tmp_path / "tiny.toml", "--jobs", "1", "--runs")
    assert command(*arguments, tmp_path / "enough").status == 0
    whole = rows(tmp_path)
    full = 0
    for pages in LEVELS:
        runs = disk.folder / f"runs{pages}"
        disk.leave(pages)
        answer = command(*arguments, runs)
        if answer.status:
            full += 1
            check_one_message(answer)
        assert leftovers(disk.folder) == []
        disk.clear()
        subprocess.run(["rm", "-r", str(tmp_path / "leaderboards")], check=True)
        assert command(*arguments, runs).status == 0  # what fitted is gone on with
        assert rows(tmp_path) == whole
        subprocess.run(["rm", "-r", str(runs)], check=True)
    assert full >= 4


@pytest.mark.exhaustive  # starts workers
def test_workers_on_a_full_disk_end_with_one_message(disk: Disk, command: Any, tmp_path: Path) -> None:
    write_suite(tmp_path)
    for pages in (4, 12) if EXHAUSTIVE else (4,):
        disk.leave(pages)
        answer = command(
            "run", "--suite", tmp_path / "tiny.toml", "--jobs", "2", "--runs", disk.folder / f"runs{pages}"
        )
        assert answer.status in (1, 2)
        assert answer.err.count("no space left on the disk") == 1, answer.err
        assert leftovers(disk.folder) == []
        disk.clear()


@pytest.mark.parametrize("pages", [0, 1, 3])
def test_what_commands_write_elsewhere_fits_or_is_one_message(
    disk: Disk, command: Any, tmp_path: Path, pages: int
) -> None:
    write_suite(tmp_path, defenses=["natural"])
    board = tmp_path / "leaderboards" / "tiny.parquet"
    assert command("run", "--suite", tmp_path / "tiny.toml", "--jobs", "1", "--runs", tmp_path / "runs").status == 0
    other = tmp_path / "other.parquet"
    write_leaderboard(other, [make_row(suite="tiny", cell_id="aa", test_accuracy=0.5)])
    (disk.folder / "tiny.parquet").write_bytes(b"")
    disk.leave(pages)
    place = disk.folder
    for arguments in (
        ("report", "--out", place / "site"),
        ("leaderboard", "merge", board, other, "--out", place / "tiny.parquet"),
        ("leaderboard", "pack", board, "--out", place / "out.zip", "--runs", tmp_path / "runs"),
        ("run", "--suite", "tiny.toml", "--jobs", "1", "--runs", tmp_path / "runs", "--leaderboards", place / "boards"),
        ("table", "closer-look", "--table", "1", "--pages", place / "pages"),
        ("figure", "closer-look", "--figure", "spiral", "--out", place / "figures"),
        ("plugins", "new", "defense", "mine", "--out", place / "plugins"),
    ):
        answer = command(*arguments)
        if answer.status:
            check_one_message(answer)
        assert leftovers(disk.folder) == []
    assert (place / "tiny.parquet").read_bytes() == b"" or pages == 3


def test_temporary_folder_and_home_on_a_full_disk(
    disk: Disk, command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(tmp_path, defenses=["natural"])
    monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))
    monkeypatch.setenv("BENCHBENCH_HOME", str(disk.folder / "home"))
    monkeypatch.setattr(benchbench.evaluation.attacking, "LARGEST_IN_MEMORY", 0)
    disk.leave(0)
    run = command("run", "--suite", tmp_path / "tiny.toml", "--jobs", "1", "--runs", tmp_path / "runs")
    assert run.status == 0, run.err
    cell = rows(tmp_path)[0].cell_id
    check_one_message(command("rerun", cell, "--runs", tmp_path / "runs"))
    answer = command("leaderboard", "pack", "leaderboards/tiny.parquet", "--out", "x.zip", "--runs", tmp_path / "runs")
    if answer.status:
        check_one_message(answer)


class FullPlugin:
    """A defense whose disk is full, in the words of some library."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    @hookimpl
    def benchbench_defenses(self) -> list[Offer]:
        """The defense."""
        return [Offer(name="full", summary="fills a disk", factory=self._make)]

    def _make(self) -> FullPlugin:
        return self

    def loss(self, model: Any, images: torch.Tensor, labels: torch.Tensor, **_: object) -> BatchLoss:
        """No loss."""
        if len(images) < 32:  # the passes are counted first
            return BatchLoss(loss=torch.nn.functional.cross_entropy(model(images), labels, reduction="sum"))
        try:
            raise self._error
        except Exception as error:
            raise RuntimeError("cannot cache") from error


FULL = [
    OSError(errno.ENOSPC, "No space left on device", "/cache/x"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
]


@pytest.mark.parametrize("error", FULL, ids=str)
def test_plugin_whose_disk_is_full_ends_the_run_and_fails_no_cell(
    error: Exception, plant: Callable[[object], None], command: Any, tmp_path: Path
) -> None:
    plant(FullPlugin(error))
    write_suite(tmp_path, defenses=["full", "natural"])
    answer = command("run", "--suite", tmp_path / "tiny.toml", "--jobs", "1", "--runs", tmp_path / "runs")
    assert answer.status == 2
    assert answer.err.count("error: ") == 1
    assert "FAILED" not in answer.err
    assert RunStore(tmp_path / "runs").rows() == []


@pytest.mark.parametrize("error", FULL, ids=str)
def test_full_disk_is_found_behind_other_errors(error: Exception) -> None:
    outer = DataError("cannot write the cache file")
    outer.__cause__ = error
    found = full_disk(outer)
    assert isinstance(found, StorageError)
    assert found.hint == "free some space, or choose another folder"
    assert full_disk(DataError("damaged")) is None
    assert full_disk(OSError(errno.EACCES, "denied")) is None


def test_writer_that_raises_in_its_own_words_is_a_storage_error(tmp_path: Path) -> None:
    def write(_: Path) -> None:
        raise FULL[2]

    with pytest.raises(StorageError, match="x: no space left on the disk"):
        write_atomically(tmp_path / "x", write)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), storage_errors(tmp_path):
        raise ZeroDivisionError
