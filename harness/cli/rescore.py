"""``harness rescore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="A finished run's folder.")],
    judge: Annotated[
        str, typer.Option(help="Who grades: exact, f1, contains, recall, offline-1, offline-2, openai:MODEL[@URL].")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; must not exist yet. RUN/rescored/JUDGE by default.")
    ] = None,
    max_judge_calls: Annotated[int, typer.Option(help="Calls that a remote judge may make; 0 is no limit.")] = 0,
    max_cost: Annotated[float, typer.Option(help="US dollars that a remote judge may spend; 0 is no limit.")] = 0.0,
    cache: Annotated[Path, typer.Option(help="Folder of a remote judge's verdicts.")] = Path(".harness/judge"),
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the plugin files that a run from elsewhere names.")
    ] = False,
) -> None:
    """Grade a run's stored answers again with another judge, without asking the model.

    The run stays as it is. What is written can be compared and viewed like a run.

    Example:  harness rescore runs/20261120-101500-seal-lab-facts --judge contains

    Exit codes: 0 done, 2 bad input, 4 a judge gave no verdict on some answers.
    """
    from rich.console import Console

    from harness import escape
    from harness.evidence.leaderboard.table import render
    from harness.evidence.sources import open_file
    from harness.judges.base import Budget
    from harness.runs.rescore import changed, rescore

    budget = Budget(max_judge_calls, max_cost, cache)
    written = rescore(run, judge, out, budget=budget, trust=trust)
    found = open_file(written)
    console = Console()
    console.print(render(found))
    for said in (*changed(open_file(run), found), f"written      {written}"):
        console.print(escape.line(said), highlight=False, markup=False, soft_wrap=True)
    if not all(row.complete for row in found.rows):
        raise typer.Exit(4)
