"""Leaderboards outside of benchbench: the lines of docs/exchange.md run, and Croissant's own library reads the metadata."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchbench.cli import invoke
from benchbench.leaderboard.croissant import croissant
from benchbench.records import Row

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "leaderboards" / "closer-look.parquet"
BLOCKS = re.findall(
    r"```python\n# (\w+)[^\n]*\n(.*?)```", (ROOT / "docs" / "exchange.md").read_text(encoding="utf-8"), re.S
)


def best() -> float:
    """The largest robust accuracy of a measured row under PGD-10, from the file."""
    rows = pq.read_table(BOARD, columns=["source", "attack", "adv_test_accuracy"]).to_pylist()
    return max(row["adv_test_accuracy"] for row in rows if (row["source"], row["attack"]) == ("measured", "pgd-10"))


@pytest.mark.parametrize(("library", "code"), BLOCKS, ids=[library for library, _ in BLOCKS])
def test_lines_of_the_page_give_what_the_file_holds(library: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not find_spec(library):
        pytest.skip(f"{library} is not installed")
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    exec(code, names)
    assert str(best())[:6] in str(names["robust"]) or best() == max(names["robust"]["adv_test_accuracy"].to_pylist())  # type: ignore[index]


def test_croissant_names_file_digest_and_every_plain_column(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["leaderboard", "croissant", str(BOARD), "--url", "https://example.org/b.parquet"]) == 0
    document = json.loads(capsys.readouterr().out)
    (file,) = document["distribution"]
    assert file["sha256"] == hashlib.sha256(BOARD.read_bytes()).hexdigest()
    assert file["contentUrl"] == "https://example.org/b.parquet"
    (rows,) = document["recordSet"]
    named = {field["name"] for field in rows["field"]}
    assert set(Row.__dataclass_fields__) - named == {"flags", "extra"}
    assert all(field["description"] for field in rows["field"])


def test_croissants_own_library_reads_every_row(tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    shutil.copy(BOARD, tmp_path)
    (tmp_path / "metadata.json").write_text(json.dumps(croissant(tmp_path / BOARD.name)))
    records = list(mlcroissant.Dataset(tmp_path / "metadata.json").records("rows"))
    assert len(records) == pq.read_metadata(BOARD).num_rows
