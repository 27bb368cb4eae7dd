"""Evidence: of several copies, an intact one counts."""

from __future__ import annotations

from pathlib import Path

import torch

from benchbench.checking.evidence import Finding, find_evidence, read_evidence
from benchbench.records.arrays import content_digest, to_array, write_arrays
from benchbench.training.checkpoint import Position, write_checkpoint


def copies(tmp_path: Path, kind: str, name: str) -> tuple[list[Path], Path, Path]:
    """Two folders, and the paths of a file in both."""
    folders = [tmp_path / "lab", tmp_path / "runs"]
    first, second = (folder / kind / name for folder in folders)
    for path in (first, second):
        path.parent.mkdir(parents=True)
    return folders, first, second


def test_damaged_copy_beside_a_leaderboard_refutes_nothing_where_the_runs_have_an_intact_one(tmp_path: Path) -> None:
    arrays = {name: to_array(name, [0, 1]) for name in ("index", "label", "prediction")}
    arrays["correct"] = to_array("correct", [True, True])
    digest = content_digest(arrays)
    folders, first, second = copies(tmp_path, "outcomes", f"{digest}.parquet")
    write_arrays(second, arrays)
    first.write_bytes(second.read_bytes()[:-9])
    findings, missing = list[Finding](), list[str]()
    read = read_evidence(folders, "outcomes", digest, findings, missing)
    assert read is not None
    assert (findings, missing) == ([], [])
    second.unlink()
    assert read_evidence(folders, "outcomes", digest, findings, missing) is None
    assert "cannot be read" in str(findings[0])


def test_of_two_copies_of_weights_the_intact_one_is_found(tmp_path: Path) -> None:
    folders, first, second = copies(tmp_path, "models", "m.safetensors")
    write_checkpoint(second, "m", {"model.weight": torch.zeros(3)}, Position())
    first.write_bytes(second.read_bytes()[:-1])
    assert find_evidence(folders, "models", "m.safetensors") == second
    write_checkpoint(first, "m", {"model.weight": torch.ones(3)}, Position())
    assert find_evidence(folders, "models", "m.safetensors") == first
