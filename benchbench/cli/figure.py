"""``benchbench figure``: the papers' figures as files."""

from __future__ import annotations

from pathlib import Path

import click

from benchbench.cli.options import FOLDER, data_option, leaderboards_option, suite_argument
from benchbench.cli.printing import note, say
from benchbench.settings import find_folders

NAMES = ("separation", "closest-pairs", "spiral", "staircase", "lipschitz")
FORMATS = ("png", "svg", "pdf")
_NAME = click.Choice(NAMES)


@click.command(name="figure")
@suite_argument
@click.option("--figure", "names", multiple=True, type=_NAME, help="Draw only this figure; repeatable.")
@click.option("--format", "formats", multiple=True, default=("png",), type=click.Choice(FORMATS), help="Repeatable.")
@click.option("--out", default=Path("figures"), type=FOLDER, help="Folder of the files; by default ./figures.")
@leaderboards_option
@data_option
def command(
    suite: str,
    names: tuple[str, ...],
    formats: tuple[str, ...],
    out: Path,
    leaderboards: Path | None,
    data: Path | None,
) -> int:
    """Draw figures from the leaderboard of SUITE and from measured separations.

    Exit status: 0 done; 1 nothing could be drawn; 2 a figure named by --figure cannot be drawn.
    """
    from benchbench.errors import UsageError
    from benchbench.figures import Sources, draw
    from benchbench.leaderboard import published_rows, read_rows
    from benchbench.leaderboard.separations import read_separations

    folders = find_folders(data=data, leaderboards=leaderboards)
    path = folders.leaderboard(suite)
    rows = read_rows(path) if path.exists() else list(published_rows(suite))
    sources = Sources(rows=rows, separations=read_separations(folders.leaderboards), data=folders.source())
    drawn = 0
    for name in names or NAMES:
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
