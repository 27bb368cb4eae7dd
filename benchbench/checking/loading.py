"""Load the trained model of a row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from benchbench.arguments import checked
from benchbench.cell.model import Cell
from benchbench.cell.reading import read_cell
from benchbench.checking.evidence import UnavailableError, evidence_folders, has_result
from benchbench.checking.replaying import Replayer
from benchbench.checking.rerunning import find_row
from benchbench.errors import BenchbenchError, DataError, StorageError, UsageError
from benchbench.records import Row, RunStore, checkpoint_name, kept_checkpoints
from benchbench.registry import load_registry
from benchbench.settings import AnyPath, find_device, find_folders
from benchbench.training.checkpoint import weights_digest


@checked
def load_model(
    row: Row | Mapping[str, object] | str,
    *,
    leaderboard: AnyPath | None = None,
    runs: AnyPath | None = None,
    data: AnyPath | None = None,
    download: bool = False,
    device: str | torch.device = "cpu",
) -> nn.Module:
    """Load the trained model of a row, in evaluation mode: float32 pixels / 255 to logits.

    Its checkpoint must be whole and of the row's training. If `runs` has the row's result, the digest of the weights must be
    the recorded one; weights there of another run of the cell are not taken. A model that is fitted without epochs (the
    distance classifier, splines) is fitted again.

    Args:
        row: one of `RunResult.rows`, a row of a leaderboard as a mapping, or a cell id or its beginning.
        leaderboard: the Parquet file of the row, beside which weights may lie; None for the suite's in ``./leaderboards``. Cell
            ids are sought in it; with None, in the records of `runs`.
        runs: folder of checkpoints and records; None for the one below ``BENCHBENCH_HOME``.
        data: data root; None for ``BENCHBENCH_DATA``. The shape of the data decides that of the network.
        download: whether a missing dataset may be fetched.
        device: where the model is put.

    Raises:
        UsageError: there is no such row, or several, or it is not of a trained model.
        StorageError: the weights are not at hand; the message says where they were sought.
        DataError: the weights are not those of the row, or the dataset is missing.
    """
    folders = find_folders(data=data, runs=runs)
    board = None if leaderboard is None else Path(leaderboard)
    if not isinstance(row, Row):
        row = find_row(row if isinstance(row, str) else str(row.get("cell_id")), folders.runs, board)
    if row.source != "measured" or row.status != "ok":
        raise UsageError(f"row {row.cell_id} has no trained model: it is {row.source}, {row.status}")
    replayer = Replayer(
        registry=load_registry(),
        folders=evidence_folders(board or folders.leaderboard(row.suite), folders.runs),
        source=folders.source(download=download),
        device=find_device(device),
    )
    known = folders.runs.is_dir() and has_result(folders.runs, row)
    recorded = RunStore(folders.runs).weights_of(row.cell_id) if known else ""
    return _load(row, read_cell(row.configuration), replayer, recorded).to(replayer.device).eval()


def _load(row: Row, cell: Cell, replayer: Replayer, recorded: str) -> nn.Module:
    """The first model in the folders that is the row's; else the errors of `load_model`."""
    name = checkpoint_name(cell.training.model_id)
    own = [folder for folder in replayer.folders if has_result(folder, row)]
    files = [file for folder in own if (file := folder / "models" / name).is_file()]
    problems = []
    found_here: list[Path | None] = [one for file in files for one in (file, *kept_checkpoints(file))]
    for path in found_here or [None]:
        try:
            model, findings = replayer.load_model(cell, path)
        except UnavailableError as error:
            if isinstance(error.__cause__, BenchbenchError):  # of the dataset
                raise error.__cause__ from None
            sought = ", ".join(str(folder / "models") for folder in replayer.folders)
            raise StorageError(
                f"the weights of cell {row.cell_id} are not at hand",
                hint=f"sought {name} in {sought}; leaderboard= and runs= name other folders",
            ) from None
        except BenchbenchError as error:
            problems.append(f"{path or row.cell_id}: {error.message}")
            continue
        found = [f"{path}: {finding}" for finding in findings]
        if path is None and replayer.dataset(cell).digest != cell.training.dataset_digest:
            found.append(f"dataset {cell.training.dataset.name} here is another than the row's")
        if path is not None and recorded not in ("", weights_digest(model.state_dict())):
            found.append(f"{path} has other weights than the row was measured on")
        if not found:
            return model
        problems += found
    raise DataError(f"no weights are those of row {row.cell_id}: {'; '.join(problems)}")
