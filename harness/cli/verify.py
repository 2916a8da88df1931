"""``harness verify``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check a run's journal, weights, edits, scores, result and configuration against their checksums.

    Nothing is written. Exit codes: 0 undamaged, 2 not a run, 4 something is damaged.

    Example:  harness verify runs/20261120-101500-seal-lab-facts-3f2a
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    from harness.books import verify
    from harness.escape import line

    # Shown on a terminal only.
    shown = Progress(
        TextColumn("{task.description}"), MofNCompleteColumn(), console=Console(stderr=True), transient=True
    )
    bars = {what: shown.add_task(what, total=None) for what in ("items", "weights", "files")}
    with shown:
        report = verify.verify(run, lambda what, done, total: shown.update(bars[what], completed=done, total=total))
    if as_json:
        print(json.dumps(verify.as_json(run, report), indent=1, ensure_ascii=False))
    else:
        for damage in report.damaged:
            print(line(f"{run / damage.path}: {damage.what}"))
        print(", ".join(f"{count} {what}" for what, count in report.checked.items()))
        print(line(verify.remedy(run, report)) or "everything is as it was written")
    if report.damaged:
        raise typer.Exit(4)
