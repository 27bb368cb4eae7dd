"""Files from elsewhere run no code, whatever they pretend to be, with real payloads."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import sys
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_processes import SUITE, results, run, write_suite

from benchbench.builtin.datasets.cifar10 import _unpack_member
from benchbench.cli import invoke
from benchbench.contract import DataSource
from benchbench.data import load_dataset
from benchbench.errors import BenchbenchError, SuiteError
from benchbench.leaderboard.files import read_rows
from benchbench.leaderboard.packing import unpack
from benchbench.records import RunStore, parquet
from benchbench.records.arrays import read_unchecked_arrays, write_arrays
from benchbench.registry import load_registry
from benchbench.suite import read_suite


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.fixture
def crater(tmp_path: Path) -> Path:
    """The file that the bomb makes, and that must not be there in the end."""
    return tmp_path / "crater"


@pytest.fixture
def bomb(crater: Path) -> bytes:
    payload = pickle.dumps(Bomb(crater))
    pickle.loads(payload)
    assert crater.exists()  # it is a real one
    crater.unlink()
    return payload


@pytest.mark.parametrize(
    "pattern",
    [
        "runs/models/*.safetensors",
        "runs/cells/*.json",
        "runs/outcomes/*.parquet",
        "runs/measurements/*/*.safetensors",
        "leaderboards/tiny/outcomes/*.parquet",
    ],
)
def test_pickle_bomb_in_place_of_what_a_run_keeps_is_set_aside(
    tmp_path: Path, bomb: bytes, crater: Path, pattern: str
) -> None:
    write_suite(tmp_path, attacks=["pgd-10"], defenses=["natural"])
    run(tmp_path)
    sound = results(tmp_path)
    for path in tmp_path.glob(pattern):
        path.write_bytes(bomb)
    for path in tmp_path.glob("runs/cells/*.json"):
        path.unlink()
    assert run(tmp_path).failed == 0
    assert results(tmp_path) == sound
    assert not crater.exists()


def test_pickle_bomb_in_place_of_a_leaderboard_or_a_suite_is_refused(
    tmp_path: Path, bomb: bytes, crater: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("suite.toml", "leaderboard.parquet"):
        (tmp_path / name).write_bytes(bomb)
    with pytest.raises(SuiteError):
        read_suite(tmp_path / "suite.toml", load_registry())
    with pytest.raises(BenchbenchError):
        read_rows(tmp_path / "leaderboard.parquet")
    assert invoke(["verify", str(tmp_path / "leaderboard.parquet")]) == 2
    assert invoke(["check", str(tmp_path / "suite.toml")]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not crater.exists()


def test_pickle_bomb_in_place_of_witnesses_is_set_aside(tmp_path: Path, bomb: bytes, crater: Path) -> None:
    store = RunStore(tmp_path)
    (tmp_path / "witnesses").mkdir()
    (tmp_path / "witnesses" / ("0" * 64 + ".parquet")).write_bytes(bomb)
    assert store.read_witnesses("0" * 64) is None
    assert not crater.exists()


@pytest.mark.parametrize(
    ("dataset", "options", "files"),
    [
        ("cifar-10", {}, ["cifar-10-batches-py/data_batch_1", "cifar-10-batches-py/test_batch"]),
        ("mnist", {}, ["MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/t10k-labels-idx1-ubyte.gz"]),
        ("svhn", {}, ["train_32x32.mat", "test_32x32.mat"]),
        ("image-folder", {"path": "pets"}, ["pets/train/cat/a.png", "pets/test/cat/a.png"]),
        ("parquet-images", {"path": "pets"}, ["pets/train.parquet", "pets/test.parquet"]),
    ],
)
def test_pickle_bomb_in_a_dataset_folder_is_refused(
    tmp_path: Path, bomb: bytes, crater: Path, dataset: str, options: dict[str, Any], files: list[str]
) -> None:
    for name in files:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(bomb)
    registry = load_registry()
    source = DataSource(root=tmp_path / "data", cache=tmp_path / "cache", download=False)
    with pytest.raises(BenchbenchError):
        load_dataset(registry, registry.resolve("dataset", dataset, options), source)
    assert not crater.exists()


CODE = [
    "evil:boom",
    "evil.boom",
    "os:system",
    "timm:evil:boom",
    "timm:hf-hub:evil/boom",
    "timm:../evil",
    "foolbox:os.system",
]


@pytest.mark.parametrize("name", CODE)
@pytest.mark.parametrize("kind", ["dataset", "architectures", "defenses", "attacks", "metrics"])
def test_suite_cannot_name_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crater: Path, kind: str, name: str
) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(crater)!r}, 'w')\ndef boom(**_): open({str(crater)!r}, 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = SUITE.format(seeds="[0]", defenses='["natural"]', attacks='["pgd-10"]', metrics='["accuracy"]', epochs=1)
    lines = [line for line in text.splitlines() if not line.startswith(f"{kind} =")]
    entry = f'{kind} = "{name}"' if kind == "dataset" else f'{kind} = ["{name}"]'
    lines.insert(lines.index("[[experiments]]") + 1, entry)
    (tmp_path / "tiny.toml").write_text("\n".join(lines))
    if name.startswith(("timm:", "foolbox:")) and kind in ("architectures", "attacks"):
        with suppress(SuiteError):  # a family's members show when they are made
            assert run(tmp_path).finished == 0
    else:
        with pytest.raises(SuiteError, match=re.escape(name)):
            read_suite(tmp_path / "tiny.toml", load_registry())
    assert "evil" not in sys.modules
    assert not crater.exists()


def test_archive_decides_neither_where_its_members_go_nor_what_they_link_to(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w") as tar:
        for name, target in (("batches/../../escape", None), ("batches/link", str(secret))):
            member = tarfile.TarInfo(name)
            if target is not None:
                member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    with tarfile.open(archive) as tar:
        with pytest.raises(KeyError):  # told as a damaged archive
            _unpack_member(tar, "batches/link", tmp_path / "cache" / "link")
        with pytest.raises(KeyError):
            _unpack_member(tar, "batches/escape", tmp_path / "cache" / "escape")
    assert {path.name for path in tmp_path.iterdir()} - {"benchbench-home"} == {"archive.tar", "secret"}


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A real submission, with its weights."""
    place = tmp_path / "submitter"
    write_suite(place, attacks=["pgd-10"], defenses=["natural"])
    run(place)
    board, out = place / "leaderboards" / "tiny.parquet", tmp_path / "submission.zip"
    assert invoke(["leaderboard", "pack", str(board), "--out", str(out), "--weights", "--runs", f"{place}/runs"]) == 0
    return out


def repack(path: Path, change: Callable[[str, bytes], bytes], **extra: bytes) -> None:
    """Change the members of a submission, with the digests that its manifest states."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members.pop("manifest.json"))
    members = {name: change(name, content) for name, content in members.items()} | extra
    manifest["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, "manifest.json": json.dumps(manifest).encode()}.items():
            archive.writestr(name, content)


def check(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Check a submission as the command line does: exit status and what was said."""
    capsys.readouterr()
    status = invoke(["leaderboard", "check", str(path)])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return status, said.out + said.err


def test_sound_submission_passes(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repack(packed, lambda _, content: content)
    assert check(packed, capsys)[0] == 0


@pytest.mark.parametrize("kind", ["models/", "outcomes/", "witnesses/", "leaderboard"])
def test_pickle_bomb_in_a_submission_is_refused(
    packed: Path, bomb: bytes, crater: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    repack(packed, lambda name, content: bomb if name.startswith(kind) else content)
    assert check(packed, capsys)[0] == 1
    assert not crater.exists()


def test_submission_writes_nowhere_else_and_makes_no_links(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repack(packed, lambda _, content: content, **{"../escape": b"x", "/tmp/escape-benchbench": b"x"})
    link = zipfile.ZipInfo(f"outcomes/{'0' * 64}.parquet")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    status, said = check(packed, capsys)
    assert status == 1
    assert "'../escape' does not belong into a submission" in said
    assert f"{link.filename} is not in the manifest" in said
    assert not list(tmp_path.parent.rglob("escape*"))
    assert not Path("/tmp/escape-benchbench").exists()


def test_member_that_says_it_is_a_link_becomes_a_plain_file(tmp_path: Path) -> None:
    name, target = f"outcomes/{'0' * 64}.parquet", b"/etc/passwd"
    link = zipfile.ZipInfo(name)
    link.create_system, link.external_attr = 3, 0o120777 << 16
    files = {name: hashlib.sha256(target).hexdigest()}
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr(link, target)
        archive.writestr("manifest.json", json.dumps({"format": 1, "suite": "s", "files": files, "weights": {}}))
    unpack(tmp_path / "s.zip", tmp_path / "there")
    assert not (tmp_path / "there" / name).is_symlink()
    assert (tmp_path / "there" / name).read_bytes() == target


def test_submission_that_unpacks_to_an_absurd_size_is_refused_before_it_does(
    packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"outcomes/{number:064d}.parquet", bytes(10 * 2**20))
    assert packed.stat().st_size < 2**20
    status, said = check(packed, capsys)
    assert status == 2
    assert "unpacks to more than" in said


def test_parquet_file_that_unpacks_to_an_absurd_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "MOST_BYTES", 2**20)
    write_arrays(tmp_path / "bomb.parquet", {"index": np.zeros(2**22)})
    assert (tmp_path / "bomb.parquet").stat().st_size < 2**15
    with pytest.raises(BenchbenchError, match="unpacks to more than"):
        read_unchecked_arrays(tmp_path / "bomb.parquet")


def test_suite_of_absurd_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large.toml").write_text("# " + "x" * 8000 + "\n" * 1_100_000)
    with pytest.raises(SuiteError, match="larger than"):
        read_suite(tmp_path / "large.toml", load_registry())
