"""``harness status``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say how far a run is: running, broken off or finished, row by row, from its journal. Nothing is written.

    Example:  harness status runs/20261120-101500-seal-lab-facts

    Exit codes: 0 running or finished, 2 there is no run, 4 it broke off.
    """
    from harness.escape import line
    from harness.runs.status import status

    found = status(run)
    if as_json:
        print(json.dumps(asdict(found), indent=1))
    else:
        over = sum(state == "finished" for state in found.rows.values())
        print(line(f"{found.run}: {found.state}; {over} of {len(found.rows)} rows finished; {found.now}"))
        for name, state in found.rows.items():
            calls = f", {found.rounds[name]} calls so far" if state == "begun" and name in found.rounds else ""
            print(line(f"  {name}: {state}{calls}"))
        updates, planned = found.done["updates"], found.planned.get("updates", 0)
        print(
            f"booked: {updates} updates{f' of about {planned}' if planned > updates else ''}, "
            f"{found.done['completions']} completions, {_long(found.seconds)} of work"
            f"{f', ${found.usd:.2f}' if found.usd else ''}; the last {_long(found.last)} ago"
        )
        if found.errors:
            print(f"lost for errors of ours: {found.errors} results; they are tried again")
    if found.state == "broken off":
        raise typer.Exit(4)


def _long(seconds: float) -> str:
    from harness.evidence.leaderboard.table import seconds as said

    return said(seconds)
