"""``benchbench figure``: the figures of a suite as files."""

from __future__ import annotations

from pathlib import Path

import click

from benchbench.cli.options import FOLDER, folder_options, suite_argument
from benchbench.cli.printing import note, say
from benchbench.settings import find_folders

NAMES = (
    *("separation", "closest-pairs", "spiral", "staircase"),
    *("epsilon", "perturbations", "tradeoff", "lipschitz", "epochs"),
)
FORMATS = ("png", "svg", "pdf")
_NAME = click.Choice(NAMES)


@click.command(name="figure")
@suite_argument
@click.option(
    "--figure", "names", multiple=True, type=_NAME, help="Draw only this figure; repeatable. By default the suite's."
)
@click.option("--format", "formats", multiple=True, default=("png",), type=click.Choice(FORMATS), help="Repeatable.")
@click.option("--out", default=Path("figures"), type=FOLDER, help="Folder of the files; by default ./figures.")
@folder_options
def command(
    suite: str,
    names: tuple[str, ...],
    formats: tuple[str, ...],
    out: Path,
    data: Path | None,
    runs: Path | None,
    leaderboards: Path | None,
) -> int:
    """Draw figures from the leaderboard of SUITE, its runs, and measured separations.

    Exit status: 0 done; 1 nothing could be drawn; 2 a figure named by --figure cannot be drawn.
    """
    from benchbench.checking.evidence import evidence_folders, read_history
    from benchbench.comparison.contenders import OutcomeFiles, find_contenders
    from benchbench.errors import UsageError
    from benchbench.figures import Sources, draw, figures_of
    from benchbench.leaderboard import published_rows, read_rows
    from benchbench.leaderboard.clearing import share_doubts
    from benchbench.leaderboard.separations import read_separations
    from benchbench.suite.files import name_of

    suite, folders = name_of(suite), find_folders(data=data, runs=runs, leaderboards=leaderboards)
    path = folders.board(suite)
    rows = read_rows(path) if path.exists() else list(published_rows(suite))
    if not rows:
        note(f"there is no leaderboard {path}; benchbench run --suite {suite} writes one")
    places = evidence_folders(path, folders.runs)
    models = {row.model_id: row for row in rows if row.source == "measured"}
    sources = Sources(
        rows=share_doubts(rows),
        separations=read_separations(path.parent),
        data=folders.source(),
        contenders=find_contenders(rows, OutcomeFiles(places, note)),
        histories=[(row, read_history(places, row)) for row in models.values()],
    )
    drawn = 0
    for name in names or figures_of(sources):
        try:
            written = draw(name, sources, out, formats)
        except UsageError as error:
            if names:
                raise
            note(f"{name}: {error.message}; {error.hint}")
            continue
        drawn += len(written)
        for file in written:
            say(str(file))
    return 0 if drawn else 1
