"""Mutated leaderboards, outcomes, records, checkpoints and submissions: what is read is used, the rest is a clean error."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import tempfile
import tomllib
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from fuzzing.draws import NUMBERS, Draws, splice
from fuzzing.suites import registry, source
from torch import nn

from benchbench.cell.model import Cell, to_json
from benchbench.cell.reading import read_cell
from benchbench.checking.replaying import Replayer
from benchbench.comparison.choosing import by_method, matched
from benchbench.comparison.contenders import OutcomeFiles, find_contenders
from benchbench.comparison.pairing import compare
from benchbench.comparison.ranking import rank_all
from benchbench.data import load_dataset
from benchbench.errors import BenchbenchError
from benchbench.harness.cells import build_model
from benchbench.leaderboard import FORMATS, paper_tables, published_rows, read_rows, render, table_document
from benchbench.leaderboard.merging import merge
from benchbench.leaderboard.packing import unpack
from benchbench.own_model.files import load_weights
from benchbench.planning import make_plan
from benchbench.records import Row, RunStore, table_from_rows
from benchbench.records.arrays import Array, content_digest, read_unchecked_arrays, write_arrays
from benchbench.records.envelope import pack_row
from benchbench.report.boards import board_csv, board_data, row_texts
from benchbench.report.gathering import _Gatherer
from benchbench.settings import Folders
from benchbench.suite import suite_from_table
from benchbench.training.checkpoint import Checkpoint, EpochRecord, Position, read_checkpoint

OUTCOMES: dict[str, Array] = {
    "index": np.arange(6),
    "label": np.array([0, 1, 2, 0, 1, 2]),
    "prediction": np.array([0, 1, 2, 0, 1, 0]),
    "correct": np.array([True, True, True, True, True, False]),
    "adversarial_prediction": np.array([0, 1, 0, 0, 2, 1]),
    "robust": np.array([True, True, False, True, False, False]),
    "lipschitz": np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
}
TINY = """
name = "closer-look"
protocol = "tiny-1"
seeds = [0, 1]
[[experiments]]
name = "digits"
dataset = { name = "digits", scale = 1 }
architectures = [{ name = "mlp", hidden = [] }]
defenses = ["natural"]
attacks = ["pgd-10"]
metrics = ["accuracy"]
threat = { norm = "linf", epsilon = 0.1 }
recipe = { learning_rate = 0.1, epochs = 1 }
n_train = 20
n_test = 6
[[findings]]
name = "any"
statement = "Accuracy follows Lipschitzness."
measures = ["test_accuracy"]
extras = ["x"]
where = { attack = "pgd-10" }
against = "test_lipschitz"
ratio = true
above = 0
"""
DTYPES = ("<i8", "<f4", "<f8", "|b1", "|u1", "<i2")


@functools.cache
def cells() -> tuple[Cell, ...]:
    """Two cells on data that is at hand."""
    suite = suite_from_table(tomllib.loads(TINY), registry())
    plan = make_plan(suite, registry(), profile="paper", source=source())
    return tuple(planned.cell for planned in plan.cells if planned.cell is not None)


def rows(outcomes: str = "", witnesses: str = "") -> list[Row]:
    """Two measured rows, which state these digests, and two published ones."""
    files = {"outcomes_digest": outcomes or content_digest(OUTCOMES), "witnesses_digest": witnesses}
    measures = {"test_accuracy": 5 / 6, "adv_test_accuracy": 0.5, "test_lipschitz": 3.5}
    measured = [
        Row(**cell.identity(), **files, **measures, configuration=to_json(cell), flags=("masked",), extra={"x": 1.0})
        for cell in cells()
    ]
    return [*measured, *published_rows("closer-look")[:2]]


@functools.cache
def leaderboard() -> bytes:
    """A sound leaderboard file."""
    return _parquet(table_from_rows(rows()))


@functools.cache
def evidence() -> dict[str, bytes]:
    """Sound files of the other kinds, by suffix."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        made = {"outcomes.parquet": Path(folder) / "o", "model.safetensors": Path(folder) / "m"}
        write_arrays(made["outcomes.parquet"], OUTCOMES)
        model = _model()
        optimizer = torch.optim.Adam(model.parameters())
        position = Position(epoch=1, history=(EpochRecord(epoch=1, learning_rate=0.1, loss=2.0, accuracy=0.5),))
        Checkpoint(made["model.safetensors"], cells()[0].training.model_id).save(model, optimizer, position)
        files = {name: path.read_bytes() for name, path in made.items()}
    buffer = io.BytesIO()
    torch.save(_model().state_dict(), buffer)
    return {**files, "model.pt": buffer.getvalue(), "record.json": pack_row(rows()[0], "")}


def _model() -> nn.Module:
    cell = cells()[0]
    return build_model(cell, load_dataset(registry(), cell.training.dataset, source()).splits, registry())


def leaderboard_bytes(data: bytes) -> None:
    """Bytes as they are, in a Parquet file."""
    _use_leaderboard(data)


def leaderboard_edits(data: bytes) -> None:
    """A sound file with changed bytes."""
    _use_leaderboard(splice(leaderboard(), Draws(data)))


def leaderboard_values(data: bytes) -> None:
    """A sound file of other values, columns, types and metadata, as another program could write it."""
    draws = Draws(data)
    table = table_from_rows(rows())
    for _ in range(1 + draws.below(4)):
        with contextlib.suppress(pa.ArrowException, TypeError, ValueError, OverflowError):  # no such file can be
            table = _changed(table, draws)
    try:
        content = _parquet(table)
    except (pa.ArrowException, UnicodeError):
        return
    _use_leaderboard(content)


def outcome_values(data: bytes) -> None:
    """Evidence that a submission may state: arrays of any name, type, length and content, under their own digest."""
    draws = Draws(data)
    arrays = {"outcomes": dict(OUTCOMES), "witnesses": {"image": np.zeros((6, 1, 8, 8), dtype=np.float32)}}
    for _ in range(1 + draws.below(4)):
        changed = arrays["outcomes" if draws.below(4) else "witnesses"]
        name = draws.choice([*OUTCOMES, "squared_error", "adv_squared_error", "", "image"])
        if draws.below(4) == 0:
            changed.pop(name, None)
        else:
            changed[name] = _array(draws)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        _use_evidence(Path(folder), arrays, header=draws)


def _array(draws: Draws) -> Array:
    shape = [draws.choice((6, 0, 1, 3, 8, 64)) for _ in range(1 + draws.below(3))]
    numbers = np.array([float(draws.choice(NUMBERS)) for _ in range(min(int(np.prod(shape)), 8))] or [0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a number that the type does not hold
        return np.resize(numbers, shape).astype(draws.choice(DTYPES))


def evidence_edits(data: bytes) -> None:
    """A sound outcome file, checkpoint, torch file or cell record with changed bytes."""
    draws = Draws(data)
    name = draws.choice(sorted(evidence()))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / name
        path.write_bytes(splice(evidence()[name], draws))
        _READERS[name](path)


def submission_edits(data: bytes) -> None:
    """A sound submission with changed bytes, or with members of other names and content."""
    draws = Draws(data)
    files: dict[str, bytes] = {"leaderboard.parquet": leaderboard()}
    files |= {f"outcomes/{content_digest(OUTCOMES)}.parquet": evidence()["outcomes.parquet"]}
    manifest: dict[str, Any] = {"format": 1, "suite": "closer-look", "files": {}, "weights": {}}
    for name, content in files.items():
        manifest["files"][name] = hashlib.sha256(content).hexdigest()
    for _ in range(draws.below(3)):
        files[draws.text()] = draws.bytes(draws.below(40))
    for _ in range(draws.below(3)):
        place = manifest["files"] if draws.below(2) and isinstance(manifest["files"], dict) else manifest
        place[draws.choice([*manifest, draws.text()])] = draws.value()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, contextlib.suppress(UnicodeError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two members of one name
        for name, content in {**files, "manifest.json": json.dumps(manifest).encode()}.items():
            archive.writestr(name.replace("\0", "") or "x", content)
    content = buffer.getvalue()
    if draws.below(2):
        content = splice(content, draws)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        (Path(folder) / "s.zip").write_bytes(content)
        with contextlib.suppress(BenchbenchError):
            unpack(Path(folder) / "s.zip", Path(folder) / "there")
        assert {path.name for path in Path(folder).iterdir()} <= {"s.zip", "there"}


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def _changed(table: pa.Table, draws: Draws) -> pa.Table:
    position = draws.below(table.num_columns)
    name, kind = table.schema.names[position], draws.below(8)
    if kind == 0:
        return table.remove_column(position)
    if kind == 1:
        return table.append_column(draws.text(), table.column(position))
    if kind == 2:
        values = [draws.value() for _ in range(table.num_rows)]
        return table.set_column(position, name, pa.array(values))
    if kind == 3:
        key = draws.choice([b"benchbench.kind", b"benchbench.schema_version", b"pandas", b"ARROW:schema"])
        return table.replace_schema_metadata({**(table.schema.metadata or {}), key: draws.text().encode()})
    if kind == 4:
        return pa.concat_tables([table, table.slice(draws.below(table.num_rows + 1))])
    values = table.column(position).to_pylist()
    if values:
        values[draws.below(len(values))] = _like(values, table.schema.field(position).type, draws)
    return table.set_column(position, table.schema.field(position), pa.array(values, table.schema.field(position).type))


def _like(values: list[Any], kind: pa.DataType, draws: Draws) -> Any:
    """A value of the column's type, or null."""
    if not draws.below(8):
        return None
    if pa.types.is_string(kind):
        return draws.text()
    if pa.types.is_integer(kind):
        return int(draws.value([""], 0) or 0) if draws.below(2) else draws.below(2**31)
    if pa.types.is_floating(kind):
        return float(draws.choice(NUMBERS))
    if pa.types.is_map(kind):
        return [(draws.text(), float(draws.choice(NUMBERS))) for _ in range(draws.below(3))]
    return [draws.text() for _ in range(draws.below(3))]


def _use_leaderboard(content: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / "leaderboard.parquet"
        path.write_bytes(content)
        try:
            found = read_rows(path, on_problem=lambda _: None)
        except BenchbenchError:
            return
    for row in found:
        row_texts(row)
        with contextlib.suppress(BenchbenchError):
            read_cell(row.configuration)
    for table in paper_tables(found, published=True, intervals=True):
        table_document(table)
        for output in FORMATS:
            render(table, output)
    board_data(found)
    board_csv(found)
    with contextlib.suppress(BenchbenchError):
        merge({"sound": rows(), "mutated": found})
    _compete(found, lambda digest: OUTCOMES if digest else None)


def _use_evidence(folder: Path, arrays: dict[str, dict[str, Array]], header: Draws) -> None:
    """Verify, compare and show rows with this evidence, once with the header that says what the columns are changed."""
    digests = {}
    for kind, columns in arrays.items():
        digests[kind] = content_digest(columns)
        path = folder / kind / f"{digests[kind]}.parquet"
        path.parent.mkdir()
        try:
            write_arrays(path, columns)
        except (BenchbenchError, pa.ArrowException, ValueError):  # no such file can be
            return
        if header.below(4) == 1:
            _restate(path, header)
    board = rows(digests["outcomes"], digests["witnesses"])
    _replay(folder, board)
    _compete(board, OutcomeFiles([folder], on_problem=lambda _: None))


def _restate(path: Path, draws: Draws) -> None:
    table = pq.read_table(path)
    stated = json.loads(table.schema.metadata[b"benchbench.arrays"])
    for name in stated:
        if draws.below(2):
            stated[name] = [draws.choice(("<f8", "|O", "<M8[s]", "|V4", "zz")), [draws.below(9), draws.value(depth=0)]]
    text = json.dumps(stated).encode()
    pq.write_table(table.replace_schema_metadata({b"benchbench.arrays": text}), path)


def _replay(folder: Path, board: list[Row]) -> None:
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models" / f"{cells()[0].training.model_id}.safetensors").write_bytes(evidence()["model.safetensors"])
    replayer = Replayer(registry=registry(), folders=(folder,), source=source(), device=torch.device("cpu"))
    gatherer = _Gatherer(Folders(data=folder, home=folder, runs=folder, leaderboards=folder), {folder: None})
    gatherer._folders, gatherer._replayer = (folder,), replayer
    for row in board:
        replayer.judge(row)
        gatherer.gallery(row)
        gatherer.history(row)


def _compete(found: list[Row], outcomes: Callable[[str], Any]) -> None:
    with contextlib.suppress(BenchbenchError):
        contenders = find_contenders(found, outcomes)
        rank_all(contenders)
        by_method(contenders)
        matched(contenders, contenders)
        compare({f"{number} {one.label}": [one] for number, one in enumerate(contenders[:3])})


def _read_outcomes(path: Path) -> None:
    target = path.parent / "outcomes" / f"{content_digest(OUTCOMES)}.parquet"
    target.parent.mkdir()
    path.rename(target)
    with contextlib.suppress(BenchbenchError):
        read_unchecked_arrays(target)
    _replay(path.parent, rows())


def _read_checkpoint(path: Path) -> None:
    model, model_id = _model(), cells()[0].training.model_id
    with contextlib.suppress(BenchbenchError):
        load_weights(model, path)
    with contextlib.suppress(BenchbenchError):
        read_checkpoint(path)
    with contextlib.suppress(BenchbenchError):
        Checkpoint(path, model_id).load(model, torch.optim.Adam(model.parameters()))


def _read_weights(path: Path) -> None:
    with contextlib.suppress(BenchbenchError):
        load_weights(_model(), path)


def _read_record(path: Path) -> None:
    cells = path.parent / "cells"
    cells.mkdir()
    path.rename(cells / f"{rows()[0].cell_id}.json")
    RunStore(path.parent, on_problem=lambda _: None).rows("closer-look")


_READERS: dict[str, Callable[[Path], None]] = {
    "outcomes.parquet": _read_outcomes,
    "model.safetensors": _read_checkpoint,
    "model.pt": _read_weights,
    "record.json": _read_record,
}
