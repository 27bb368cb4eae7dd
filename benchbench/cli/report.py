"""``benchbench report``: the leaderboards as static pages."""

from __future__ import annotations

from pathlib import Path

import click

from benchbench.cli.options import FOLDER, folder_options
from benchbench.cli.printing import note, say
from benchbench.errors import UsageError
from benchbench.settings import find_folders
from benchbench.version import install_command


@click.command(name="report")
@click.argument("boards", nargs=-1, metavar="[SUITE|LEADERBOARD]...")
@click.option("--out", required=True, type=FOLDER, help="Folder of the pages; open its index.html.")
@folder_options
def command(boards: tuple[str, ...], out: Path, data: Path | None, runs: Path | None, leaderboards: Path | None) -> int:
    """Write static HTML pages of all leaderboards of the folder, or of some suites' or files.

    The pages need no server and no network. Exit status: 0 done; 1 something could not be shown (standard error and the pages
    say what); 2 nothing could be shown.
    """
    try:
        import altair  # noqa: F401
        import jinja2  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError as error:
        raise UsageError(f"the report needs {error.name}", hint=install_command("report")) from error
    from benchbench.report.gathering import write_report
    from benchbench.suite.files import name_of

    folders = find_folders(data=data, runs=runs, leaderboards=leaderboards)
    report = write_report(out, folders, [folders.board(name_of(each)) for each in boards])
    for problem in report.problems:
        note(problem)
    for page in report.pages:
        say(str(page))
    return 1 if report.problems else 0
