"""``benchbench leaderboard``: merge, restore, pack, check, accept, challenge, croissant."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from benchbench.atomic import scratch_folder, write_bytes_atomically
from benchbench.cli.options import (
    FILE,
    Replay,
    check_options,
    json_option,
    leaderboards_option,
    own_option,
    replay_options,
    reserving,
    runs_option,
)
from benchbench.cli.printing import note, print_json, say
from benchbench.cli.verify import print_claims, summary
from benchbench.collector import collector_paused
from benchbench.errors import UsageError, counted
from benchbench.escaping import printable

if TYPE_CHECKING:
    from benchbench.checking.submissions import Checks, Examined
    from benchbench.leaderboard.merging import Merged


@click.group(name="leaderboard")
def command() -> None:
    """Merge files, or go on from one; pack, check or accept a submission; challenge a row."""


@command.command(name="merge")
@click.argument("boards", nargs=-1, required=True, type=FILE, metavar="A B [...]")
@click.option("--out", required=True, type=FILE, help="The Parquet file to write.")
@click.option("--keep", type=click.Choice(["first"]), help="Resolve conflicts: keep the results of the first file.")
@json_option
@collector_paused()
def merge_command(boards: tuple[Path, ...], out: Path, keep: str | None, as_json: bool) -> int:
    """Join leaderboards of one suite.

    A cell with equal results in several files is kept once. Different results are a conflict: then nothing is written without
    --keep. Exit status: 0 written, 1 conflicts, 2 usage error.
    """
    from benchbench.atomic import at_once
    from benchbench.leaderboard.files import held, read_rows
    from benchbench.leaderboard.merging import merge

    if len(boards) < 2 or len(set(boards)) < len(boards):
        raise UsageError("merging takes two or more different files")
    troubles = {board: list[str]() for board in boards}  # apart, as the files are read at once
    bare = list[str]()
    with held(out):  # which may be one of them
        rows = at_once(lambda board: read_rows(board, on_problem=troubles[board].append, in_order=False), boards)
        merged = merge(dict(zip(map(str, boards), rows)))  # which are sorted when they are written
        problems = [problem for several in troubles.values() for problem in several]
        for problem in problems:
            note(f"left out: {problem}")
        written = not merged.conflicts or keep is not None
        if written:
            bare = _write_merged(merged, boards, out)
    if as_json:
        conflicts = [dataclasses.asdict(conflict) for conflict in merged.conflicts]
        counts = {"rows": len(merged.rows), "repeated": merged.repeated, "left_out": problems}
        print_json({"out": str(out) if written else None, **counts, "conflicts": conflicts, "without_evidence": bare})
    else:
        for conflict in merged.conflicts:
            say(f"conflict: {conflict}")
        found = f"{counted(len(merged.rows), 'row')}, {merged.repeated} of them equal in several files"
        say(f"{found}: {out}" if written else found)
        if bare:
            say(f"{counted(len(bare), 'row')} without evidence: {', '.join([*bare[:20], '...'][: len(bare)])}")
        if not written:
            note("nothing written: --keep first takes the rows of the first file")
    return 1 if merged.conflicts else 0


@command.command(name="pack")
@click.argument("board", type=FILE, metavar="LEADERBOARD")
@click.option("--out", required=True, type=FILE, help="The zip file to write.")
@click.option("--cell", "cells", multiple=True, metavar="ID", help="Only this cell (beginning of its id); repeatable.")
@click.option("--weights", is_flag=True, help="Also pack the checkpoints, so that anyone can replay the witnesses.")
@runs_option
def pack_command(board: Path, out: Path, cells: tuple[str, ...], weights: bool, runs: Path | None) -> None:
    """Pack one self-contained submission.

    It holds rows, outcomes, adversarial images, configuration and digests of the weights.
    """
    from benchbench.checking.evidence import evidence_finder, evidence_folders
    from benchbench.leaderboard import read_rows
    from benchbench.leaderboard.packing import pack
    from benchbench.settings import find_folders

    rows = read_rows(board, on_problem=note)
    chosen = [row for row in rows if not cells or row.cell_id.startswith(cells)]
    if not chosen:
        raise UsageError(f"{board} has no row" + (f" of the cells {', '.join(cells)}" if cells else ""))
    folders = evidence_folders(board, find_folders(runs=runs).runs)
    with scratch_folder("pack") as scratch:
        files = pack(chosen, evidence_finder(folders, chosen), out, scratch=scratch, weights=weights)
    say(f"{out}: {counted(len(files), 'file')}, {out.stat().st_size / 2**20:.1f} MiB")


@command.command(name="check")
@click.argument("submission", type=FILE)
@check_options
@json_option
def check_command(submission: Path, as_json: bool, **how: Unpack[Checks]) -> int:
    """Check a submission, by default on the CPU.

    It checks digests, schema, identity, outcomes, box and ball. With weights it also checks predictions and attacks again, as
    ``benchbench verify`` does. Rows that cannot be replayed because weights or data are missing here are unchecked. Exit
    status: 0 valid, 1 a problem was found, 2 not a submission.
    """
    from benchbench.checking.submissions import examine

    how["device"] = how["device"] or "cpu"
    with scratch_folder("check") as scratch:
        examined = examine(submission, scratch, how)
    if as_json:
        print_json(_document(examined))
    else:
        _print_examined(examined)
    return 0 if examined.valid else 1


@command.command(name="accept")
@click.argument("submission", type=FILE)
@click.option("--unchecked", is_flag=True, help="Also take rows that cannot be checked here.")
@leaderboards_option
@check_options
@json_option
def accept_command(
    submission: Path, unchecked: bool, leaderboards: Path | None, as_json: bool, **how: Unpack[Checks]
) -> int:
    """Check a submission and put it into the leaderboards folder.

    Rows, outcomes, adversarial images and weights are put there. Nothing is written if ``check`` finds a problem, or if a
    cell is there with other results. Exit status: 0 accepted, 1 not accepted, 2 not a submission.
    """
    from benchbench.checking.submissions import accept
    from benchbench.settings import find_folders

    how["device"] = how["device"] or "cpu"
    folder = find_folders(leaderboards=leaderboards).leaderboards
    show = (lambda _: None) if as_json else _print_examined
    accepted = accept(submission, folder, how, unchecked=unchecked, done=show)
    if as_json:
        conflicts = [dataclasses.asdict(conflict) for conflict in accepted.conflicts]
        out = None if accepted.path is None else str(accepted.path)
        print_json({**_document(accepted.examined), "out": out, "new": accepted.new, "conflicts": conflicts})
    else:
        for conflict in accepted.conflicts:
            say(f"conflict: {conflict}")
        say(
            "not accepted"
            if accepted.path is None
            else f"accepted, {counted(accepted.new, 'new row')}: {accepted.path}"
        )
    return 1 if accepted.path is None else 0


@command.command(name="restore")
@click.argument("board", metavar="SUITE|LEADERBOARD")
@leaderboards_option
@runs_option
@json_option
def restore_command(board: str, leaderboards: Path | None, runs: Path | None, as_json: bool) -> int:
    """Put finished rows of a leaderboard into the runs folder.

    ``benchbench run`` then goes on from them on a machine that has not computed them. A row comes with its outcomes, and with
    adversarial images and weights that lie beside the file; one without outcomes is left out. What is finished in the runs
    folder stays. Flags of older diagnostics are renewed by ``run``. Exit status: 0 all rows are finished there now, 1 some are
    not, 2 usage error.
    """
    from benchbench.records import RunStore
    from benchbench.running.restoring import restore
    from benchbench.settings import find_folders
    from benchbench.suite.files import name_of

    folders = find_folders(runs=runs, leaderboards=leaderboards)
    store = RunStore(folders.runs, on_problem=note)
    restored = restore(folders.board(name_of(board)), store, on_problem=note)
    if as_json:
        print_json({"runs": str(store.root), **dataclasses.asdict(restored)})
    else:
        for cell_id, reason in restored.refused:
            say(f"left out: {printable(f'cell {cell_id}: {reason}' if cell_id else reason)}")
        say(f"{counted(len(restored.recorded), 'row')} restored, {len(restored.present)} were finished: {store.root}")
        if restored.outdated:
            say(f"{len(restored.outdated)} of them have flags of older diagnostics, which benchbench run renews")
    return 1 if restored.refused or restored.outdated else 0


@command.command(name="challenge")
@click.argument("cell")
@click.argument("images", type=FILE)
@click.option("--leaderboard", required=True, type=FILE, help="The Parquet file that holds the row.")
@click.option("--by", required=True, metavar="NAME", help="Who gets the credit.")
@own_option
@replay_options
@json_option
def challenge_command(
    cell: str,
    images: Path,
    leaderboard: Path,
    by: str,
    architecture: str | None,
    as_json: bool,
    **where: Unpack[Replay],
) -> int:
    """Lower the bound of a row by adversarial images alone.

    CELL is the row's id, or its beginning. IMAGES is a Parquet file with the columns ``index`` (of the test example in its
    dataset) and ``image`` (pixels / 255), for instance one that ``benchbench verify --images`` writes. Box, ball and success
    are checked against the row's weights. What breaks an example that the row counts as robust is kept beside the
    leaderboard, with the name. The row itself does not change: tables and reports show the lower bound beside it. Exit
    status: 0 something new broke, 1 nothing, 2 usage error.
    """
    from benchbench.checking.challenging import challenge
    from benchbench.checking.evidence import Finding

    result = challenge(cell, images, leaderboard=leaderboard, by=by, architecture=architecture, **where)
    if as_json:
        print_json({**dataclasses.asdict(result), "path": None if result.path is None else str(result.path)})
    else:
        for why, examples in result.rejected.items():
            say(f"rejected, the image {why}: {Finding(what=counted(len(examples), 'image'), examples=examples)}")
        if result.known:
            say(f"{counted(len(result.known), 'example')} broken before")
        more = counted(len(result.broken), "more example")
        say(f"cell {result.cell_id}: {more} broken: robust accuracy <= {result.bound:.2%}")
    return 0 if result.path is not None else 1


@command.command(name="croissant")
@click.argument("board", type=FILE, metavar="LEADERBOARD")
@click.option("--out", type=FILE, help="The JSON file to write; by default it is printed.")
@click.option("--url", default="", help="Where the leaderboard is published.")
@click.option("--licence", default="", metavar="URL", help="The licence of the leaderboard.")
@reserving("out", None)
def croissant_command(board: Path, out: Path | None, url: str, licence: str) -> None:
    """Describe a leaderboard in Croissant 1.0, for catalogues."""
    from benchbench.leaderboard.croissant import croissant

    document = croissant(board, url=url, licence=licence)
    if out is None:
        print_json(document)
    else:
        write_bytes_atomically(out, json.dumps(document, indent=2).encode())
        say(str(out))


def _write_merged(merged: Merged, boards: Sequence[Path], out: Path) -> list[str]:
    """Write rows with their evidence and challenges; return the cells without evidence."""
    from benchbench.leaderboard import write_leaderboard
    from benchbench.leaderboard.challenges import copy_challenges
    from benchbench.leaderboard.merging import copy_evidence, without_evidence

    bare = list[str]()
    if merged.rows:
        suite = merged.rows[0].suite
        folders = [folder for board in boards for folder in (board.parent / suite, board.parent)]
        copy_evidence(merged.rows, folders, out.parent / suite)
        bare = without_evidence(merged.rows, out.parent / suite)
        for board in boards:  # a row that gave way to another one took its challenges with it
            replaced = {conflict.cell_id for conflict in merged.conflicts if conflict.second == str(board)}
            standing = {*merged.rows.values("cell_id")} - replaced
            copy_challenges(standing, *(path.parent / suite / "challenges" for path in (board, out)))
    write_leaderboard(out, merged.rows)
    return bare


def _document(examined: Examined) -> dict[str, object]:
    listed = [dataclasses.asdict(verdict) for verdict in examined.verdicts]
    found = {"problems": list(examined.problems), "counts": dict(_counts(examined)), "rows": listed}
    return {"suite": examined.submission.suite, **found}


def _counts(examined: Examined) -> Counter[str]:
    return Counter(verdict.status for verdict in examined.verdicts)


def _print_examined(examined: Examined) -> None:
    for problem in examined.problems:
        say(f"problem: {problem}")
    for verdict in examined.verdicts:
        say(f"{verdict.cell_id} {verdict.label}: {verdict}")
    print_claims(examined.verdicts)
    say(summary(_counts(examined)))
