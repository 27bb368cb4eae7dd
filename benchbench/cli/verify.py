"""``benchbench verify``: replay the witnesses of a leaderboard, attack its models again."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from benchbench.cli.options import FILE, check_options, json_option, quiet_option
from benchbench.cli.printing import note, print_json, print_table, say
from benchbench.errors import counted

if TYPE_CHECKING:
    from benchbench.checking.evidence import Verdict
    from benchbench.checking.submissions import Checks


@click.command(name="verify")
@click.argument("leaderboard", type=FILE)
@click.argument("cells", nargs=-1, metavar="[CELL]...")
@check_options
@quiet_option
@json_option
def command(leaderboard: Path, cells: tuple[str, ...], quiet: bool, as_json: bool, **how: Unpack[Checks]) -> int:
    """Confirm or refute each row of LEADERBOARD, a Parquet file, or those of each CELL.

    A CELL is an id, or its beginning. The adversarial images of a row are replayed against its checkpoint: they prove an upper
    bound on its robust accuracy. Then its own attack runs again, with fresh draws, on a random sample of the examples. A row is
    refuted if that breaks significantly more than it admits. Stronger searches add flags and a lower bound on what can be
    broken. Leaderboards and evidence are only read. Exit status: 0 rows were confirmed and none refuted; 1 a row was refuted or
    is damaged, or none could be checked; 2 usage error.
    """
    from benchbench.checking.verifying import verify

    problems: list[str] = []

    def tell(problem: str) -> None:
        note(problem)
        problems.append(problem)

    verdicts = verify(
        leaderboard,
        cells,
        **how,
        on_problem=tell,
        done=(lambda _: None) if quiet else lambda v: note(f"{v.status} {v.cell_id} {v.label} {v.proven}"),
    )
    counts = Counter[str](verdict.status for verdict in verdicts)
    if as_json:
        rows = [dataclasses.asdict(verdict) for verdict in verdicts]
        found = {"counts": dict(counts), "damaged_rows": problems, "rows": rows}
        print_json({"leaderboard": str(leaderboard), "replay_only": how["replay_only"], **found})
    else:
        _print(verdicts, counts)
    damaged = problems and not cells  # a damaged row that a CELL means is a usage error, another one does not matter
    return 1 if damaged or counts["refuted"] or not counts["confirmed"] else 0


def print_claims(verdicts: Sequence[Verdict]) -> None:
    """Print what confirmed rows only claim, by reason."""
    claims = {c: what for v in verdicts if v.status == "confirmed" for c, what in v.claimed.items()}
    for what in dict.fromkeys(claims.values()):
        say(f"claimed, not checked: {', '.join(c for c in claims if claims[c] == what)}: {what}")


def _print(verdicts: Sequence[Verdict], counts: Counter[str]) -> None:
    print_table(("cell", "row", "verdict"), [(v.cell_id, v.label, str(v)) for v in verdicts])
    print_claims(verdicts)
    say(summary(counts))
    if not counts["confirmed"]:
        note("nothing could be confirmed here; each verdict says why")


def summary(counts: Counter[str]) -> str:
    """How many verdicts of each kind there are; what is confirmed is a bound."""
    bounds, rows = counted(counts["confirmed"], "bound"), counted(counts["refuted"], "row")
    return f"{bounds} confirmed, {rows} refuted, {counts['unchecked']} unchecked"
