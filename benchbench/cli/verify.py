"""``benchbench verify``: replay the stored witnesses of a leaderboard."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from benchbench.cli.options import FILE, Replay, json_option, quiet_option, replay_options
from benchbench.cli.printing import note, print_json, print_table, say

if TYPE_CHECKING:
    from benchbench.checking.evidence import Verdict


@click.command(name="verify")
@click.argument("leaderboard", type=FILE)
@replay_options
@quiet_option
@json_option
def command(leaderboard: Path, quiet: bool, as_json: bool, **where: Unpack[Replay]) -> int:
    """Confirm or refute each row of LEADERBOARD, a Parquet file.

    The adversarial images of a row are replayed against its checkpoint. A confirmed row's robust accuracy is proven to be an
    upper bound. Files are only read. Exit status: 0 rows were confirmed and none refuted; 1 a row was refuted or is damaged, or
    none could be checked; 2 usage error.
    """
    from benchbench.checking.replaying import verify

    problems: list[str] = []
    verdicts = verify(
        leaderboard,
        **where,
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


def print_claims(verdicts: Sequence[Verdict]) -> None:
    """Print what confirmed rows only claim, by reason."""
    claims = {c: what for v in verdicts if v.status == "confirmed" for c, what in v.claimed.items()}
    for what in dict.fromkeys(claims.values()):
        say(f"claimed, not checked: {', '.join(c for c in claims if claims[c] == what)}: {what}")


def _print(verdicts: Sequence[Verdict], counts: Counter[str]) -> None:
    rows = [
        (v.status, v.cell_id, v.label, "; ".join([*map(str, v.findings), *v.missing, *v.changed])) for v in verdicts
    ]
    print_table(("verdict", "cell", "row", "why"), rows)
    print_claims(verdicts)
    say(", ".join(f"{counts[status]} {status}" for status in ("confirmed", "refuted", "unchecked")))
    if not counts["confirmed"]:
        note("nothing could be confirmed here: the runs folder, or the data root, is not the one of these rows")
