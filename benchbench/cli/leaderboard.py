"""``benchbench leaderboard``: merge files, pack a submission, check one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Unpack

import click

from benchbench.atomic import scratch_folder
from benchbench.cli.options import FILE, Checks, check_options, json_option, runs_option
from benchbench.cli.printing import note, print_json, say
from benchbench.cli.verify import print_claims, summary
from benchbench.errors import BenchbenchError, UsageError


@click.group(name="leaderboard")
def command() -> None:
    """Merge leaderboard files; pack or check a submission."""


@command.command(name="merge")
@click.argument("boards", nargs=-1, required=True, type=FILE, metavar="A B [...]")
@click.option("--out", required=True, type=FILE, help="The Parquet file to write.")
@click.option("--keep", type=click.Choice(["first"]), help="Resolve conflicts: keep the results of the first file.")
@json_option
def merge_command(boards: tuple[Path, ...], out: Path, keep: str | None, as_json: bool) -> int:
    """Join leaderboards of one suite; different results of the same cell are a conflict.

    A cell with equal results in several files is kept once. If there are conflicts, nothing is written without --keep. Exit
    status: 0 written, 1 conflicts, 2 usage error.
    """
    from benchbench.leaderboard import read_rows, write_leaderboard
    from benchbench.leaderboard.merging import copy_evidence, merge, without_evidence

    if len(boards) < 2 or len(set(boards)) < len(boards):
        raise UsageError("merging takes two or more different files")
    problems: list[str] = []
    merged = merge({str(board): read_rows(board, on_problem=problems.append) for board in boards})
    for problem in problems:
        note(f"left out: {problem}")
    written, bare = not merged.conflicts or keep is not None, list[str]()
    if written and merged.rows:
        folders = [folder for board in boards for folder in (board.parent / merged.rows[0].suite, board.parent)]
        copy_evidence(merged.rows, folders, out.parent / merged.rows[0].suite)
        bare = without_evidence(merged.rows, out.parent / merged.rows[0].suite)
    if written:
        write_leaderboard(out, merged.rows)
    if as_json:
        conflicts = [dataclasses.asdict(conflict) for conflict in merged.conflicts]
        counts = {"rows": len(merged.rows), "repeated": merged.repeated, "left_out": problems}
        print_json({"out": str(out) if written else None, **counts, "conflicts": conflicts, "without_evidence": bare})
    else:
        for conflict in merged.conflicts:
            say(f"conflict: {conflict}")
        counted = f"{len(merged.rows)} rows, {merged.repeated} of them in several files"
        say(f"{counted}: {out}" if written else counted)
        if bare:
            say(f"{len(bare)} rows without evidence: {', '.join([*bare[:20], '...'][: len(bare)])}")
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
    from benchbench.checking.evidence import evidence_folders, find_evidence
    from benchbench.leaderboard import read_rows
    from benchbench.leaderboard.packing import pack
    from benchbench.settings import find_folders

    rows = read_rows(board, on_problem=note)
    chosen = [row for row in rows if not cells or row.cell_id.startswith(cells)]
    if not chosen:
        raise UsageError(f"{board} has no row" + (f" of the cells {', '.join(cells)}" if cells else ""))
    folders = evidence_folders(board, find_folders(runs=runs).runs)
    with scratch_folder("pack") as scratch:
        files = pack(chosen, lambda k, n: find_evidence(folders, k, n), out, scratch=scratch, weights=weights)
    say(f"{out}: {len(files)} files, {out.stat().st_size / 2**20:.1f} MiB")


@command.command(name="check")
@click.argument("submission", type=FILE)
@check_options
@json_option
def check_command(submission: Path, as_json: bool, **how: Unpack[Checks]) -> int:
    """Validate a submission, by default on the CPU, without its training.

    It checks digests, schema, identity, outcomes, box and ball. With weights it also checks predictions and attacks again, as
    ``benchbench verify`` does. Rows that cannot be replayed because weights or data are missing here are unchecked. Exit
    status: 0 valid, 1 a problem was found, 2 not a submission.
    """
    from benchbench.checking.evidence import find_evidence
    from benchbench.checking.replaying import verify
    from benchbench.leaderboard.packing import LEADERBOARD, unpack, weight_problems
    from benchbench.settings import find_folders

    how["device"] = how["device"] or "cpu"
    with scratch_folder("check") as scratch:
        unpacked = unpack(submission, scratch)
        problems = list(unpacked.problems)
        verdicts = []
        try:
            from benchbench.leaderboard import read_rows

            board = unpacked.folder / LEADERBOARD
            rows = read_rows(board, on_problem=problems.append)
            places = (unpacked.folder, find_folders(runs=how["runs"]).runs)
            problems += weight_problems(unpacked, rows, lambda kind, name: find_evidence(places, kind, name))
            verdicts = verify(board, **how, on_problem=lambda _: None)
        except BenchbenchError as error:
            problems.append(error.message)
    counts = Counter[str](verdict.status for verdict in verdicts)
    if as_json:
        listed = [dataclasses.asdict(verdict) for verdict in verdicts]
        print_json({"suite": unpacked.suite, "problems": problems, "counts": dict(counts), "rows": listed})
    else:
        for problem in problems:
            say(f"problem: {problem}")
        for verdict in verdicts:
            say(f"{verdict.cell_id} {verdict.label}: {verdict}")
        print_claims(verdicts)
        say(summary(counts))
    return 1 if problems or counts["refuted"] or not verdicts else 0
