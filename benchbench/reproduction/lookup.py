"""Find the rows of a leaderboard, and make the tables that a user wants of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchbench.arguments import checked
from benchbench.cell.selection import Filters, as_texts, parse_only
from benchbench.errors import StorageError, UsageError, suggest
from benchbench.leaderboard import Table, paper_tables, published_rows, read_rows
from benchbench.leaderboard.challenges import CHALLENGED, with_challenges
from benchbench.leaderboard.extras import extra_keys
from benchbench.leaderboard.filtering import narrowed
from benchbench.leaderboard.frames import Listing, listed
from benchbench.leaderboard.rebuilding import describe_failed_attempts
from benchbench.leaderboard.separations import read_separations
from benchbench.records import Rows
from benchbench.reproduction.pages import Measured, make_table
from benchbench.reproduction.papers import PAPERS, find_table
from benchbench.settings import AnyPath, find_folders
from benchbench.suite.files import name_of


@checked
def table(
    suite: AnyPath,
    *,
    number: str | int = "",
    paper: str = PAPERS[0],
    profile: str | None = None,
    published: bool = False,
    intervals: bool = False,
    extra: Sequence[str] = (),
    each_seed: bool = False,
    only: Filters = (),
    sort: str = "",
    leaderboards: AnyPath | None = None,
) -> Listing:
    """Make the tables of a leaderboard, as ``benchbench table`` prints them.

    Args:
        suite: a name, or the path of a suite or of a Parquet file; without any measured row, the published numbers are shown.
        number: compare with this table of a paper, number by number.
        paper: ``"neurips2020"`` or ``"arxiv-v1"``.
        profile: only rows of this profile; None for all.
        published: whether to show the published numbers beside the measured ones.
        intervals: whether the text has 95% intervals, as the records always do.
        extra: names of values of metrics that get a column.
        each_seed: a line for each seed; otherwise means and deviations over seeds.
        only: filters as of `benchbench.run`, for instance ``"defense=trades,at"``.
        sort: a column that sorts the lines of each group, best first.
        leaderboards: folder of the Parquet files; None for ``./leaderboards``.

    Raises:
        StorageError: there is no such leaderboard, or it has no rows.
        UsageError: an unknown profile, extra value, paper or table.
    """
    rows, path = find_rows(suite, profile, leaderboards, parse_only(as_texts(only)))
    how = {"intervals": intervals, "each_seed": each_seed, "sort": sort}
    return listed(make_tables(rows, path, str(number), paper, published=published, extra=extra, **how))


def make_tables(
    rows: Rows, path: Path, number: str, paper: str, *, published: bool, extra: Sequence[str], **shown: Any
) -> Sequence[Table]:
    """The tables of rows of a leaderboard file, or one of a paper; arguments as for `table`."""
    if number:
        for option, chosen in (("--sort", shown["sort"]), ("--extra", extra)):
            if chosen:
                hint = "a paper's table has its own order and columns"
                raise UsageError(f"{option} does not go with --table", hint=hint)
        evidence = evidence_of(rows, path, number)
        return [make_table(find_table(paper, number), evidence, each_seed=shown["each_seed"])]
    known = extra_keys(rows) if extra else set()
    for name in {*extra} - known:
        hint = suggest(name, known) if known else "its rows have none"
        raise UsageError(f"no row has the extra value {name!r}", hint=hint)
    rows, challenges = with_challenges(rows, path)
    extra = tuple(dict.fromkeys([*([CHALLENGED] if challenges else []), *extra]))
    shown |= {"paper": paper, "extra": extra, "notes": (*challenges, *describe_failed_attempts(path, rows))}
    return paper_tables(rows, published=published, **shown) or paper_tables(rows, published=True, **shown)


def find_rows(
    suite: AnyPath,
    profile: str | None,
    leaderboards: AnyPath | None,
    only: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> tuple[Rows, Path]:
    """The rows of a leaderboard, of a profile if given, that pass filters; its path."""
    name = name_of(suite)
    path = find_folders(leaderboards=leaderboards).board(name)
    rows = read_rows(path) if path.exists() else Rows.of(published_rows(name))
    if not rows and path.exists():
        raise StorageError(f"{path} has no row that can be shown")
    if not rows:
        suite_runs = f"benchbench run --suite {os.fspath(suite)} writes one"
        hint = "benchbench run and evaluate --record write them; check the path" if name == str(path) else suite_runs
        raise StorageError(f"there is no leaderboard {path}", hint=hint)
    known = {known for (known,) in rows.distinct("profile")[0]}
    if profile is not None and profile not in known:
        raise UsageError(f"no row has the profile {profile!r}", hint=suggest(profile, known))
    shown = (
        rows if profile is None else rows.where(rows.having("profile", profile) | rows.having("source", "published"))
    )
    return (narrowed(shown, only) if only else shown), path


def evidence_of(rows: Rows, path: Path, number: str = "") -> Measured:
    """What the tables of a paper are compared with; UsageError without published numbers."""
    if not rows.having("source", "published").any():
        raise UsageError(
            f"suite {rows[0].suite} has nothing of table {number!r}: no published numbers", hint="leave --table out"
        )
    return Measured(suite=rows[0].suite, rows=rows, separations=read_separations(path.parent))
