"""``benchbench verify``: replay the stored witnesses of a leaderboard."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchbench.cli.options import data_option, device_option, json_option
from benchbench.cli.printing import note, print_json, print_table

if TYPE_CHECKING:
    from benchbench.checking.evidence import Verdict


@click.command(name="verify")
@click.argument("leaderboard", type=click.Path(path_type=Path))
@click.option(
    "--runs",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of checkpoints, outcomes and witnesses; default below BENCHBENCH_HOME.",
)
@data_option
@device_option
@click.option("--download", is_flag=True, help="Fetch missing datasets.")
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def command(
    leaderboard: Path,
    runs: Path | None,
    data: Path | None,
    device: str | None,
    download: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Confirm or refute each row of LEADERBOARD (a Parquet file): replay its adversarial images against its checkpoint.

    A confirmed row's robust accuracy is proven to be at most what it says. Files are only read. Exit status: 0 rows were
    confirmed and none refuted, 1 a row is refuted or damaged or nothing could be checked, 2 usage error.
    """
    from benchbench.checking.replaying import verify

    problems: list[str] = []
    verdicts = verify(
        leaderboard,
        data=data,
        runs=runs,
        device=device,
        download=download,
        on_problem=problems.append,
        done=(lambda _: None) if quiet else lambda verdict: note(f"{verdict.status} {verdict.cell_id} {verdict.label}"),
    )
    for problem in problems:
        note(problem)
    counts = Counter[str](verdict.status for verdict in verdicts)
    if as_json:
        rows = [dataclasses.asdict(verdict) for verdict in verdicts]
        print_json({"leaderboard": str(leaderboard), "counts": dict(counts), "damaged_rows": problems, "rows": rows})
    else:
        _print(verdicts, counts)
    return 1 if problems or counts["refuted"] or not counts["confirmed"] else 0


def _print(verdicts: Sequence[Verdict], counts: Counter[str]) -> None:
    rows = [
        (v.status, v.cell_id, v.label, "; ".join([*map(str, v.findings), *v.missing, *v.changed])) for v in verdicts
    ]
    print_table(("verdict", "cell", "row", "why"), rows)
    click.echo(", ".join(f"{counts[status]} {status}" for status in ("confirmed", "refuted", "unchecked")))
    if not counts["confirmed"]:
        note(
            "nothing could be confirmed here: the runs folder, or the data root, is not the one that the rows are from"
        )
