"""Pack a machine's results into a few small archives: last step of ``benchmarks.device``.

    python -m benchmarks.packs --runs RUNS --leaderboards BOARDS --out OUT
    python -m benchmarks.archives OUT [OUT ...] --runs RUNS              where the work goes on

Archives are zip files of one kind each: ``rows-N.zip`` (the leaderboard file, records of cells, per-example outcomes),
``models-N.zip`` (checkpoints of models that a row was measured on, without the optimiser's state, the smallest first),
``unfinished-N.zip`` (those of the others, with it), ``witnesses-N.zip`` (adversarial images). They are filled in this order, so
that what does not fit is of the last kinds; it is named. Any of them can be unpacked without the others; of a file that is in
several, the newest counts.
Rows whose witnesses are left out count as finished (see `benchbench.records.store`).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchbench.errors import StorageError
from benchbench.records import RunStore
from benchbench.records.store import LEFT_OUT
from benchbench.training.checkpoint import read_checkpoint, write_checkpoint
from benchmarks.archives import MIB, Item, Limits, arrange, write
from benchmarks.ledger import LEFT, PACKED, Ledger


def gather(runs: Path, leaderboards: Path, scratch: Path) -> Iterator[Item]:
    """Everything worth packing, in the order in which it is packed.

    Args:
        runs: a run store.
        leaderboards: a folder of leaderboard files.
        scratch: an empty folder, where checkpoints are copied without their optimiser's state.
    """
    rows = RunStore(runs).rows()
    yield from (Item(kind="rows", name=path.name, path=path) for path in sorted(leaderboards.glob("*.parquet")))
    yield from _files("rows", runs, "cells", "*.json")
    digests = sorted({row.witnesses_digest for row in rows if row.witnesses_digest})
    yield from (Item(kind="rows", name=f"witnesses/{digest}{LEFT_OUT}", path=None) for digest in digests)
    yield from _files("rows", runs, "outcomes", "*.parquet")
    measured = {row.model_id for row in rows if row.status == "ok"}
    finished: list[Item] = []
    unfinished: list[Item] = []
    for item in _files("unfinished", runs, "models", "*.safetensors"):
        slim = _without_optimizer(item, scratch) if Path(item.name).stem in measured else None
        (unfinished if slim is None else finished).append(slim or item)
    yield from sorted(finished, key=lambda item: item.size)
    yield from unfinished
    yield from _files("witnesses", runs, "witnesses", "*.parquet")


def _files(kind: str, runs: Path, folder: str, pattern: str) -> list[Item]:
    """Files of a folder of the run store, the smallest first."""
    found = (Item(kind=kind, name=f"{folder}/{path.name}", path=path) for path in (runs / folder).glob(pattern))
    return sorted(found, key=lambda item: (item.size, item.name))


def _without_optimizer(item: Item, scratch: Path) -> Item | None:
    """Copy a model's checkpoint without the optimiser's state; None if the file is damaged."""
    if item.path is None:
        return None
    slim = scratch / item.path.name
    try:
        stored = read_checkpoint(item.path)
        if stored is None or not stored.intact:
            return None
        kept = {name: tensor for name, tensor in stored.tensors.items() if not name.startswith("optimizer.")}
        write_checkpoint(slim, stored.model_id, kept, stored.position)
    except StorageError:
        return None
    shutil.copystat(item.path, slim)
    return Item(kind="models", name=item.name, path=slim)


def main(arguments: list[str] | None = None) -> None:
    """Pack."""
    options = _parser().parse_args(arguments)
    ledger = Ledger(path=options.ledger)
    limits = Limits(
        files=options.files, file_bytes=int(options.file_mib * MIB), total_bytes=int(options.total_mib * MIB)
    )
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        items = list(gather(options.runs, options.leaderboards, Path(scratch)))
        archives, left = arrange(items, limits)
        write(archives, options.out)
    for archive in archives:
        print(f"{archive.name}: {len(archive.items)} files, {archive.size / MIB:.1f} MiB")
        ledger.add(PACKED, archive.name, bytes=archive.size, files=[item.name for item in archive.items])
    for item in left:
        ledger.add(LEFT, item.name, of=item.kind, bytes=item.size)
    for kind in dict.fromkeys(item.kind for item in left):
        names = [item.name for item in left if item.kind == kind]
        size = sum(item.size for item in left if item.kind == kind)
        print(f"left out, {len(names)} of {kind}, {size / MIB:.1f} MiB: {', '.join(names)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--runs", "--leaderboards", "--out"):
        parser.add_argument(name, required=True, type=Path)
    parser.add_argument("--files", type=int, default=6)
    parser.add_argument("--file-mib", type=float, default=15.0)
    parser.add_argument("--total-mib", type=float, default=60.0)
    parser.add_argument("--ledger", type=Path)
    return parser


if __name__ == "__main__":
    main()
