"""Files from strangers take little time and memory, whatever they hold, and end in one clean error."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fuzzing.files import OUTCOMES, cells, evidence, rows
from fuzzing.suites import registry, source
from safetensors import safe_open
from safetensors.torch import save_file

from benchbench.builtin.torchvision_import import import_torchvision
from benchbench.cell.model import to_json
from benchbench.checking.replaying import Replayer
from benchbench.cli import invoke
from benchbench.errors import MOST_SHOWN, BenchbenchError, StorageError, SuiteError
from benchbench.leaderboard import write_leaderboard
from benchbench.leaderboard.files import read_rows
from benchbench.leaderboard.packing import MOST_FILES, unpack
from benchbench.own_model.files import read_tensors
from benchbench.records import Row, RunStore, pages, provenance, table_from_rows
from benchbench.records.arrays import read_unchecked_arrays, write_arrays
from benchbench.suite import read_suite
from benchbench.suite.lines import find_lines
from benchbench.training.checkpoint import MOST_HEADER, Checkpoint, Position, read_checkpoint

CPU = torch.device("cpu")


@contextmanager
def bounded(*, seconds: float, mebibytes: float) -> Iterator[None]:
    """Fail if a block takes more CPU time, or lets the process grow by more memory."""
    pa.default_memory_pool().release_unused()  # what made the file
    provenance.forget_peak_memory(CPU)
    before, began = provenance.peak_memory_bytes(CPU), time.process_time()
    yield
    assert time.process_time() - began < seconds
    assert provenance.peak_memory_bytes(CPU) - before < mebibytes * 2**20


def refused(read: Callable[[], object], *, match: str, seconds: float = 3.0, mebibytes: float = 64.0) -> None:
    """Read within bounds, and expect one error of few lines."""
    with bounded(seconds=seconds, mebibytes=mebibytes), pytest.raises(BenchbenchError, match=match) as caught:
        read()
    assert len(str(caught.value)) < 6000
    assert len(str(caught.value).splitlines()) <= MOST_SHOWN + 5


DEEP = "a" + ".a" * 4900
SUITES = {
    "keys of many parts": ("[d]\n" + "".join(f"k{i}.{DEEP}=1\n" for i in range(100)), "a key of more than 20 parts"),
    "keys in quotes": ("[d]\n" + f'"k\\"".{DEEP}=1\n' * 100, "a key of more than 20 parts"),
    "headers of many parts": (f"[[{DEEP}]]\n" * 100, "a key of more than 20 parts"),
    "keys of many parts in an inline table": (f"d = {{ b = 1, {DEEP} = 2 }}\n", "a key of more than 20 parts"),
    "keys of some parts": ("[d]\n" + "".join(f"k{i}{'.a' * 18}=1\n" for i in range(8_000)), "unknown key"),
    "unknown keys": ("".join(f"k{i:05} = 1\n" for i in range(20_000)), "and 19,9.. more"),
    "long lists of many lists": ("a = " + "[" * 150 + "1,\n" * 100_000 + "]" * 150, "unknown key"),
    "words and quotes": ("a = '''" + '\n"a"a\'a,{[' * 50_000 + "'''", "unknown key"),
}


@pytest.mark.parametrize("kind", SUITES)
def test_suite_takes_time_and_memory_in_proportion_to_its_size(tmp_path: Path, kind: str) -> None:
    text, message = SUITES[kind]
    (tmp_path / "s.toml").write_text(text)
    registered = registry()
    refused(lambda: read_suite(tmp_path / "s.toml", registered), match=message, seconds=6, mebibytes=300)


def test_lines_of_deep_entries_are_those_of_their_tables() -> None:
    lines = find_lines("[d]\n" + f"k.{DEEP} = 1\n" * 50)
    assert lines["d", "k", "a"] == 2
    assert len(lines) < 100


def submission(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED, **manifest: Any) -> Path:
    """A submission with members and a manifest."""
    stated = {"format": 1, "suite": "s", "files": {}, "weights": {}, **manifest}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("manifest.json", json.dumps(stated))
    return path


def test_submission_of_many_files_is_refused(tmp_path: Path) -> None:
    path = submission(tmp_path / "s.zip", {f"outcomes/{i:064x}.parquet": b"" for i in range(60_000)})
    refused(lambda: unpack(path, tmp_path / "out"), match=f"more than {MOST_FILES:,}", mebibytes=150)


def test_table_of_contents_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    path = submission(tmp_path / "s.zip", {f"{i:05}" + "x" * 1000: b"" for i in range(10_000)})
    refused(lambda: unpack(path, tmp_path / "out"), match="its table of contents is larger than 8 MiB", mebibytes=32)


def test_submission_of_just_few_enough_files_is_unpacked_in_time(tmp_path: Path) -> None:
    members = {f"outcomes/{i:064x}.parquet": b"" for i in range(2_000)}
    stated = {name: hashlib.sha256(b"").hexdigest() for name in members}
    path = submission(tmp_path / "s.zip", members, files=stated)
    with bounded(seconds=4, mebibytes=32):
        assert unpack(path, tmp_path / "out").problems == ()


@pytest.mark.parametrize("content", [b" " * 2**26, b"[" * 100_000, b'{"a":1,' * 50_000])
def test_manifest_of_absurd_size_or_depth_is_refused(tmp_path: Path, content: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "s.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", content)
    refused(lambda: unpack(tmp_path / "s.zip", tmp_path / "out"), match="is no submission")


def test_problems_of_a_submission_are_summarised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {f"outcomes/{i:064x}.parquet": "" for i in range(40_000)} | {"x" * 100_000: ""}
    path = submission(tmp_path / "s.zip", {}, files=files)
    with bounded(seconds=3, mebibytes=100):
        assert invoke(["leaderboard", "check", str(path)]) == 1
    said = capsys.readouterr().out
    assert "and 39,981 more" in said
    assert len(said.splitlines()) < MOST_SHOWN + 5
    assert len(said) < 6000


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_submission_of_another_compression_is_refused(tmp_path: Path, method: int) -> None:
    path = submission(tmp_path / "s.zip", {"leaderboard.parquet": b"x"}, method)
    refused(lambda: unpack(path, tmp_path / "out"), match="another method than deflate")


def varint(number: int, length: int = 0) -> bytes:
    """An integer as Thrift's compact protocol writes it, at least so many bytes long."""
    number, found = 2 * number, bytearray()
    while number or len(found) < length or not found:
        found.append(number & 127 | 128)
        number >>= 7
    found[-1] &= 127
    return bytes(found)


def parquet(table: pa.Table, **how: Any) -> bytes:
    """A Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **{"compression": "zstd", **how})
    return buffer.getvalue()


def board_with(**columns: Any) -> pa.Table:
    """A leaderboard's table of 1,000 rows with some columns replaced."""
    table = table_from_rows([rows()[0]] * 1000)
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    return table


def lying(content: bytes) -> bytes:
    """The same file whose footer says that every column and group is small."""
    metadata = pq.read_metadata(io.BytesIO(content))
    footer = bytearray(content[-8 - metadata.serialized_size :])
    for group in range(metadata.num_row_groups):
        columns = [metadata.row_group(group).column(i).total_uncompressed_size for i in range(metadata.num_columns)]
        for size in {*columns, metadata.row_group(group).total_byte_size, sum(columns)}:
            if size > 10_000:
                footer = footer.replace(varint(size), varint(100, len(varint(size))))
    return content[: len(content) - len(footer)] + bytes(footer)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of 32 instead of 512 MiB, so that bombs need not be larger."""
    monkeypatch.setattr("benchbench.records.parquet.MOST_BYTES", 2**25)


@pytest.fixture
def page_bomb() -> bytes:
    """Pages of 128 MiB in a file of a few KiB, whose footer lies."""
    content = parquet(board_with(error=["x" * 2**17] * 1000), use_dictionary=False, data_page_size=2**30)
    assert len(content) < 2**17
    return lying(content)


def test_pages_that_unpack_to_too_much_are_not_unpacked(tmp_path: Path, page_bomb: bytes, limit: None) -> None:
    (tmp_path / "b.parquet").write_bytes(page_bomb)
    refused(lambda: read_rows(tmp_path / "b.parquet"), match="unpacks to more than 32 MiB: 13", mebibytes=16)


def test_text_that_a_dictionary_repeats_is_unpacked_in_portions(tmp_path: Path, limit: None) -> None:
    content = parquet(board_with(error=["x" * 2**18] * 1000))
    assert len(content) < 2**17
    (tmp_path / "b.parquet").write_bytes(content)
    refused(lambda: read_rows(tmp_path / "b.parquet"), match="unpacks to more than 32 MiB", mebibytes=160)


def test_list_that_repeats_a_text_in_one_row_is_not_unpacked(tmp_path: Path, limit: None) -> None:
    flags = [["x" * 2**18] * 1000, *[[]] * 999]
    content = parquet(board_with(flags=flags))
    (tmp_path / "b.parquet").write_bytes(content)
    refused(lambda: read_rows(tmp_path / "b.parquet"), match="unpacks to more than 32 MiB: 5", mebibytes=16)


def test_texts_that_repeat_the_beginning_of_one_another_are_refused(tmp_path: Path) -> None:
    encodings = {"use_dictionary": False, "column_encoding": {"error": "DELTA_BYTE_ARRAY"}}
    (tmp_path / "b.parquet").write_bytes(parquet(board_with(error=["x" * 2**14] * 1000), **encodings))
    refused(lambda: read_rows(tmp_path / "b.parquet"), match="another encoding")


def test_leaderboard_of_many_columns_is_refused_in_time(tmp_path: Path) -> None:
    table = pa.table({f"c{i}": pa.array([], pa.int8()) for i in range(10_000)})
    metadata = table_from_rows(rows()).schema.metadata
    (tmp_path / "b.parquet").write_bytes(parquet(table.replace_schema_metadata(metadata)))
    refused(lambda: read_rows(tmp_path / "b.parquet"), match="wrong columns", mebibytes=200)


def test_footer_of_absurd_size_is_refused(tmp_path: Path) -> None:
    table = table_from_rows(rows()).replace_schema_metadata({"x": "y" * (pages.MOST_FOOTER + 1)})
    (tmp_path / "b.parquet").write_bytes(parquet(table))
    refused(lambda: read_rows(tmp_path / "b.parquet"), match="a footer of")


def test_file_of_many_pages_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_PAGES", 100)
    (tmp_path / "b.parquet").write_bytes(parquet(table_from_rows(rows())))
    refused(lambda: read_rows(tmp_path / "b.parquet"), match="in its first 10. pages")


def test_evidence_of_pages_that_unpack_to_too_much_is_refused(tmp_path: Path, limit: None) -> None:
    content = parquet(pa.table({"index": np.zeros(2**24)}), use_dictionary=False, data_page_size=2**31 - 1)
    (tmp_path / "e.parquet").write_bytes(lying(content))
    refused(lambda: read_unchecked_arrays(tmp_path / "e.parquet"), match="unpacks to more than")


def test_impossible_rows_are_summarised(tmp_path: Path) -> None:
    (tmp_path / "b.parquet").write_bytes(parquet(board_with(test_accuracy=[7.0] * 1000, status=["y" * 9000] * 1000)))
    problems: list[str] = []
    with bounded(seconds=3, mebibytes=100):
        assert read_rows(tmp_path / "b.parquet", on_problem=problems.append) == []
    assert problems[-1] == "and 980 more"
    assert len("".join(problems)) < 20_000


@pytest.mark.parametrize("size", [MOST_HEADER + 1, 2**30, 2**63, 2**64 - 1])
def test_header_of_absurd_size_is_not_read(tmp_path: Path, size: int) -> None:
    path = tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.write(size.to_bytes(8, "little") + b"{}")
        file.truncate(min(size + 8, 2**31))
    refused(lambda: read_checkpoint(path), match="a header of", mebibytes=8)
    refused(lambda: read_tensors(path), match="a header of", mebibytes=8)


def test_torch_file_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(3)}, tmp_path / "w.pt")
    with (
        zipfile.ZipFile(tmp_path / "w.pt") as sound,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in sound.namelist():
            bomb.writestr(name, bytes(2**25) if name.endswith("data/0") else sound.read(name))
    refused(lambda: read_tensors(tmp_path / "b.pt"), match="unpacks to 33,")


POSITIONS: dict[str, Any] = {
    "no JSON": "{",
    "a list": "[]",
    "a number": "7",
    "deep": "[" * 100_000,
    "deep in its place": '{"epoch": ' + "[" * 100_000,
    "a long number": '{"epoch": ' + "9" * 5000 + ', "history": []}',
    "no history": '{"epoch": 1}',
    "a history of no list": '{"history": 3}',
    "a history of numbers": '{"history": [1, 2]}',
    "an unknown field": '{"history": [], "optimism": 1}',
    "an epoch that is a text": '{"history": [], "epoch": "x"}',
    "an epoch that is null": '{"history": [], "epoch": null}',
    "an epoch that is true": '{"history": [], "epoch": true}',
    "a negative epoch": '{"history": [], "epoch": -5}',
    "a large epoch": f'{{"history": [], "epoch": {2**62}}}',
    "a step that is a list": '{"history": [], "step": [[1]]}',
    "a negative step": '{"history": [], "step": -1}',
    "a sum that is a text": '{"history": [], "loss_sum": "x"}',
    "seconds of 400 digits": '{"history": [], "seconds": 1' + "0" * 400 + "}",
    "a record of another epoch": (
        '{"epoch": 1, "history": [{"epoch": 7, "learning_rate": 0.1, "loss": 1.0, "accuracy": null}]}'
    ),
    "a record with a text": '{"epoch": 1, "history": [{"epoch": 1, "learning_rate": "x", "loss": 1.0, "accuracy": 0.5}]}',
}


def with_metadata(path: Path, **changed: str | None) -> Path:
    """A sound checkpoint with other metadata; None leaves an entry out."""
    path.write_bytes(evidence()["model.safetensors"])
    with safe_open(path, framework="pt") as file:
        metadata = {**file.metadata(), **changed}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    save_file(tensors, path, {name: text for name, text in metadata.items() if text is not None})
    return path


@pytest.mark.parametrize("kind", POSITIONS)
def test_position_of_another_type_depth_or_range_is_damage(tmp_path: Path, kind: str) -> None:
    path = with_metadata(tmp_path / "m.safetensors", position=POSITIONS[kind])
    refused(lambda: read_checkpoint(path), match="is damaged|lack 'history'")
    model = torch.nn.Linear(2, 2)
    checkpoint = Checkpoint(path, cells()[0].training.model_id)
    assert checkpoint.load(model, torch.optim.SGD(model.parameters())) is None  # set aside, and trained anew
    assert (tmp_path / "m.safetensors.corrupt").exists()


@pytest.mark.parametrize("name", ["position", "model_id"])
def test_checkpoint_that_lacks_metadata_says_so(tmp_path: Path, name: str) -> None:
    path = with_metadata(tmp_path / "m.safetensors", **{name: None})
    refused(lambda: read_checkpoint(path), match=f"its metadata lack '{name}'")


def test_checkpoint_of_another_networks_state_is_refused(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 3)
    checkpoint = Checkpoint(tmp_path / "m.safetensors", "m")
    checkpoint.save(model, torch.optim.Adam(model.parameters()), Position())
    other = torch.nn.Linear(2, 2)
    with pytest.raises(StorageError, match="holds no state of this model"):
        checkpoint.load(other, torch.optim.Adam(other.parameters()))


def changed(text: str, *path: str, value: Any) -> str:
    """A configuration with another value in one place."""
    document = json.loads(text)
    place = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return json.dumps(document)


CONFIGURATIONS: dict[str, tuple[tuple[str, ...], Any]] = {
    **{f"n_test {value!r}": (("evaluation", "n_test"), value) for value in ("x", None, -1, 2**64, 1.5, [3], True)},
    **{f"n_train {value!r}": (("training", "n_train"), value) for value in ("x", None, -1, 2**64)},
    "beta of 400 digits": (("training", "defense", "options"), {"beta": 10**400}),
    "seed of 400 digits": (("training", "seed"), 10**400),
    "epsilon of 400 digits": (("evaluation", "threat", "epsilon"), 10**400),
    "rate that is a list": (("training", "recipe", "learning_rate"), [1]),
    "epochs that are a text": (("training", "recipe", "epochs"), "9"),
    "name that is a number": (("training", "architecture", "name"), 5),
    "attack in place of a dataset": (("training", "dataset", "kind"), "attack"),
    "kind that is a list": (("training", "defense", "kind"), ["defense"]),
    "suite that is null": (("suite",), None),
}


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_configuration_of_other_types_is_one_finding(tmp_path: Path, kind: str) -> None:
    path, value = CONFIGURATIONS[kind]
    row = rows()[0]
    row = dataclasses.replace(row, configuration=changed(row.configuration, *path, value=value))
    (tmp_path / "outcomes").mkdir()
    write_arrays(tmp_path / "outcomes" / f"{row.outcomes_digest}.parquet", OUTCOMES)
    replayer = Replayer(registry=registry(), folders=(tmp_path,), source=source(), device=CPU)
    verdict = replayer.judge(row)
    assert verdict.status == "refuted"
    assert "the configuration cannot be read" in str(verdict.findings[-1])
    write_leaderboard(tmp_path / "b.parquet", [row])
    for words in (["verify"], ["table"], ["table", "--format", "json"]):
        assert invoke([words[0], str(tmp_path / "b.parquet"), *words[1:]]) in (0, 1)


@pytest.mark.parametrize("value", ["x", None, -1, 2**64, 1.5, 10**400])
@pytest.mark.parametrize("column", ["n_test", "n_train_evaluated", "epsilon", "test_accuracy"])
def test_record_of_other_types_is_set_aside(tmp_path: Path, column: str, value: Any) -> None:
    content = json.dumps({**dataclasses.asdict(rows()[0]), column: value}, sort_keys=True)
    envelope = {"format": 1, "sha256": hashlib.sha256(content.encode()).hexdigest(), "row": json.loads(content)}
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / f"{rows()[0].cell_id}.json").write_text(json.dumps(envelope))
    problems: list[str] = []
    found = RunStore(tmp_path, on_problem=problems.append).rows()
    possible = (column, value) in {("epsilon", -1), ("epsilon", 2**64), ("epsilon", 1.5), ("test_accuracy", None)}
    assert (len(found), len(problems)) == ((1, 0) if possible else (0, 1))


@pytest.mark.parametrize("options", ['{"beta": 1' + "0" * 400 + "}", "[" * 100_000, '{"beta": ' + "[" * 100_000, "{\n"])
def test_options_of_absurd_numbers_or_depth_are_shown_somehow(
    tmp_path: Path, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    board = [dataclasses.replace(row, defense="trades", defense_options=options) for row in rows()[:2]]
    write_leaderboard(tmp_path / "b.parquet", board)
    with bounded(seconds=6, mebibytes=200):
        for words in (["table"], ["compare"], ["verify"], ["report", "--out", str(tmp_path / "pages")]):
            invoke([words[0], str(tmp_path / "b.parquet"), *words[1:]])
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../" * 5 + "escape", "m" * 5000, "", "a/b"])
def test_model_id_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(BenchbenchError, match="'model_id'"):
        dataclasses.replace(rows()[0], model_id=name)


def giant_row(name: str, options: dict[str, Any]) -> tuple[Row, str]:
    """A row whose configuration names a network of gigabytes, and the id of its model."""
    cell = cells()[0]
    architecture = dataclasses.replace(cell.training.architecture, name=name, options=options)
    cell = dataclasses.replace(cell, training=dataclasses.replace(cell.training, architecture=architecture))
    row = dataclasses.replace(rows()[0], **cell.identity(), configuration=to_json(cell))
    return row, cell.training.model_id


GIANTS = {"vit": ("timm:vit_giant_patch14_224", {}), "mlp": ("mlp", {"hidden": (60_000, 60_000)})}


@pytest.mark.parametrize("kind", GIANTS)
@pytest.mark.parametrize("stored", [False, True], ids=["without a checkpoint", "with one of another network"])
def test_giant_network_is_not_built_for_a_row_that_has_no_weights_of_it(
    tmp_path: Path, kind: str, stored: bool
) -> None:
    row, model_id = giant_row(*GIANTS[kind])
    images = {"image": np.zeros((6, 1, 8, 8), dtype=np.float32)}
    row = dataclasses.replace(row, witnesses_digest=_store(tmp_path, "witnesses", images))
    row = dataclasses.replace(row, outcomes_digest=_store(tmp_path, "outcomes", OUTCOMES))
    if stored:
        (tmp_path / "models").mkdir()
        with_metadata(tmp_path / "models" / f"{model_id}.safetensors", model_id=model_id)
    replayer = Replayer(registry=registry(), folders=(tmp_path,), source=source(), device=CPU)
    replayer.test_examples(cells()[0])
    if kind == "vit":
        import_torchvision()
        pytest.importorskip("timm")
    with bounded(seconds=20, mebibytes=500):
        verdict = replayer.judge(row)
    assert verdict.status != "confirmed"
    said = " ".join([*map(str, verdict.findings), *verdict.missing])
    assert ("of another architecture" if stored else "no checkpoint on this machine") in said


def _store(folder: Path, kind: str, arrays: dict[str, Any]) -> str:
    from benchbench.records.arrays import content_digest

    path = folder / kind / f"{content_digest(arrays)}.parquet"
    path.parent.mkdir(exist_ok=True)
    write_arrays(path, arrays)
    return path.stem


def test_checkpoint_that_names_a_giant_network_does_not_build_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stated = json.dumps({"name": "mlp", "hidden": [60_000, 60_000]})
    save_file({"w": torch.zeros(3)}, tmp_path / "m.safetensors", {"architecture": stated})
    words = ["evaluate", "--dataset", "digits", "--checkpoint", str(tmp_path / "m.safetensors"), "--epsilon", "0.1"]
    with bounded(seconds=6, mebibytes=300):
        assert invoke(words) == 2
    assert "holds weights of another model" in capsys.readouterr().err


LONG = "x" * 5000
LONG_NAMES = {
    "leaderboard": ["table", f"{LONG}.parquet"],
    "suite file": ["check", f"{LONG}.toml"],
    "suite": ["plan", "--suite", LONG],
    "verify": ["verify", f"{LONG}.parquet"],
    "submission": ["leaderboard", "check", f"{LONG}.zip"],
    "checkpoint": ["evaluate", "--dataset", "digits", "--checkpoint", f"{LONG}.pt", "--architecture", "mlp"],
    "runs": ["rerun", "abcd", "--runs", LONG],
    "pages": ["report", "--out", LONG, "--leaderboards", LONG],
    "merge": ["leaderboard", "merge", f"{LONG}1", f"{LONG}2", "--out", f"{LONG}3"],
    "data": ["data", "list", "--data", LONG],
}


@pytest.mark.parametrize("kind", LONG_NAMES)
def test_name_that_is_too_long_is_one_error(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(LONG_NAMES[kind]) == 2
    said = capsys.readouterr().err
    assert "error: " in said
    assert len(said.splitlines()) <= 3


def test_name_of_a_suite_that_is_too_long_for_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(f'name = "{LONG}"\nprotocol = "{LONG}"\n')
    with pytest.raises(SuiteError, match="5000 characters, more than 128"):
        read_suite(tmp_path / "s.toml", registry())


def test_device_in_place_of_a_file_is_refused() -> None:
    refused(lambda: read_rows(Path("/dev/zero")), match="is no regular file")


def benchbench(*words: str, stdout: Any = subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own."""
    program = [sys.executable, "-m", "benchbench", *words]
    return subprocess.run(program, stdout=stdout, stderr=subprocess.PIPE, env={**os.environ, **environment})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
@pytest.mark.parametrize("words", [("list", "attack"), ("list", "attack", "--json"), ("--help",), ("--version",)])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_standard_output_is_one_error(words: tuple[str, ...], unbuffered: str) -> None:
    with open("/dev/full", "wb") as full:
        done = benchbench(*words, stdout=full, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (2, b"error: standard output: No space left on device\n")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
@pytest.mark.sampled(2)
def test_sign_that_standard_output_cannot_encode_is_escaped(tmp_path: Path, encoding: str) -> None:
    board = [dataclasses.replace(row, dataset="dïgits\N{SNOWMAN}\U0001f600") for row in rows()[:2]]
    write_leaderboard(tmp_path / "b.parquet", board)
    shown = benchbench("table", str(tmp_path / "b.parquet"), PYTHONIOENCODING=encoding)
    assert (shown.returncode, shown.stderr) == (0, b"")
    if encoding == "latin-1":  # click takes ASCII for a mistake, and writes UTF-8
        assert b"d\xefgits\\u2603\\U0001f600" in shown.stdout
    document = benchbench("table", str(tmp_path / "b.parquet"), "--format", "json", PYTHONIOENCODING=encoding)
    assert "dïgits\N{SNOWMAN}\U0001f600" in json.dumps(json.loads(document.stdout), ensure_ascii=False)
