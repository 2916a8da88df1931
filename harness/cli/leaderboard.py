"""``harness leaderboard``: tables and a page from the result files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Show, build and check the leaderboards.")

Folder = Annotated[Path, typer.Option("--folder", help="Folder that holds <task>/<run>.json.")]


@app.command("build")
def build(
    folder: Folder = Path("leaderboards"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit with 1 if a file is stale.")] = False,
) -> None:
    """Write leaderboard.md, .csv, .json and .html from every result file under the folder.

    If git tracks result files there, --check looks at those only: runs in a checkout put their own beside them.

    Exit codes: 0 done or up to date, 1 stale (--check), 2 a result file cannot be read.
    """
    from harness.evidence.leaderboard.render import COMMAND, stale, under_version_control, write_all
    from harness.evidence.result_file import result_paths

    if check:
        tracked = under_version_control(folder)
        old = stale(folder, tracked)
        if old:
            own = [] if tracked is None else [path for path in result_paths(folder) if path not in tracked]
            aside = f", with {own[0]} added to git or moved away" if own else ""
            typer.echo(f"stale: {', '.join(old)}; `{COMMAND}` writes them again{aside}", err=True)
            raise typer.Exit(1)
        return
    for path in write_all(folder):
        typer.echo(str(path))


@app.command("show")
def show(
    what: Annotated[
        str, typer.Argument(metavar="[RUN]", help="A run's folder or a result file; by default all of --folder.")
    ] = "",
    folder: Folder = Path("leaderboards"),
    table: Annotated[str, typer.Option(help="Show this table instead of the headline; NAME@STEP is one step.")] = "",
) -> None:
    """Print the tables in the terminal."""
    from rich.console import Console

    from harness.evidence.leaderboard.table import render
    from harness.evidence.result_file import read, result_paths
    from harness.evidence.sources import open_file

    found = [open_file(Path(what))] if what else [read(path) for path in result_paths(folder)]
    if table:
        name = table.partition("@")[0]
        found = [one.of_table(table) for one in found if what or name in {t.name for t in one.tables}]
    console = Console()
    for one in found:
        console.print(render(one))
