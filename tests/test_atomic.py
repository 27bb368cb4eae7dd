from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchbench import processes
from benchbench.atomic import remove_leftovers, scratch_folder, write_atomically, write_bytes_atomically
from benchbench.errors import StorageError


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes_atomically(path, b"old")

    def fail(temporary: Path) -> None:
        temporary.write_bytes(b"ha")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageError, match="no space left on the disk"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_no_litter(tmp_path: Path) -> None:
    def interrupt(temporary: Path) -> None:
        temporary.write_bytes(b"ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(StorageError, match="runs"):
        write_bytes_atomically(tmp_path / "runs" / "cell", b"x")


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_folder_in_place_of_a_file_is_named(name: str) -> None:
    with pytest.raises(StorageError, match="it is a folder, not a file"):
        write_bytes_atomically(Path(name), b"x")


def test_a_name_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the name is too long"):
        write_bytes_atomically(tmp_path / ("n" * 300), b"x")


def signature(pid: int, started: str) -> str:
    return f"{processes.host_digest()}-{pid}-{started}.0123abcd.tmp"


def test_first_write_to_a_folder_removes_what_killed_writers_left(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    own, long_ago = os.getpid(), time.time() - 2 * 86400
    gone = [
        f".a.{signature(dead.pid, '1')}",
        f".b\n.{signature(own, '1')}",
        f".b.{signature(dead.pid, '1').replace('0123abcd', '55913555')}",  # eight digits by chance
        f".c.00000000-{own}-1.0123abcd.tmp",
        ".d.7.0123abcd.tmp",
    ]
    kept = [
        f".e.{signature(own, processes.start_of(own))}",  # another thread writes it
        f".f.00000000-{dead.pid}-1.0123abcd.tmp",  # on another machine, a minute ago
        ".notes.tmp",
        "g.1.0123abcd.tmp",
        f".h.{signature(dead.pid, '1')}.bak",
    ]
    for name in (*gone, *kept):
        (tmp_path / name).write_bytes(b"half of it")
    for name in (*gone[3:], kept[0], *kept[2:]):
        os.utime(tmp_path / name, (long_ago, long_ago))
    write_bytes_atomically(tmp_path / "file", b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["file", *kept])


def test_name_of_a_temporary_file_says_who_writes_it_and_fits_the_file_system(tmp_path: Path) -> None:
    seen: list[str] = []

    def write(path: Path) -> None:
        seen.append(path.name)
        remove_leftovers(tmp_path)  # as another process would
        path.write_bytes(b"1")

    path = tmp_path / ("é" * 120)  # 240 bytes of the 255 that a name may have
    write_atomically(path, write)
    assert path.read_bytes() == b"1"
    assert f"-{os.getpid()}-{processes.start_of(os.getpid())}." in seen[0]


def test_scratch_folders_of_killed_processes_go_when_the_next_is_made(tmp_path: Path) -> None:
    program = f"""
import os, pathlib
from benchbench.atomic import scratch_folder
with scratch_folder("test", pathlib.Path({str(tmp_path)!r})) as folder:
    (folder / "large").write_bytes(b"0")
    os._exit(9)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    assert len(list(tmp_path.glob(".benchbench-test-*/large"))) == 1
    with scratch_folder("test", tmp_path) as mine, scratch_folder("test", tmp_path) as another:
        assert {*tmp_path.iterdir()} == {mine, another}
    assert list(tmp_path.iterdir()) == []
