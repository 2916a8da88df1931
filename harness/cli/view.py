"""``harness view``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")],
    out: Annotated[
        Path | None, typer.Option(help="The page to write; view.html in the first run's folder by default.")
    ] = None,
    no_references: Annotated[
        bool, typer.Option("--no-references", help="Leave the accepted answers out, for a page that is passed on.")
    ] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Write one page on which a run can be looked at: every question with its edit, training and answers.

    The page is one file, made from the runs' folders alone; it needs no server and no network. Several runs stand side
    by side. It holds the task's contexts and, without --no-references, the accepted answers.

    Example:  harness view runs/20261120-101500-seal-lab-facts --open
    """
    from harness.escape import line
    from harness.evidence.view.page import write_page

    to = out or runs[0] / "view.html"
    size = write_page(runs, to, references=not no_references)
    print(line(f"{to}  ({size / 1e6:.1f} MB)"))
    if open_it:
        import webbrowser

        webbrowser.open(to.resolve().as_uri())
