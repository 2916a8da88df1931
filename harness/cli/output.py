"""What ``run`` and ``resume`` print when they are done."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from harness.runs.runner import Run


@contextmanager
def answer_alone(as_json: bool) -> Iterator[None]:
    """Under ``--json``, whatever else is printed (by a plugin, or a C library) goes to standard error instead."""
    if not as_json:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def work_done(run: Run) -> list[str]:
    """What was reused and from where, what ran, and which components differ from the run whose results were reused."""
    taken = ", ".join(f"{count} of {name}" for name, count in run.taken.items())
    one = {what: what.replace("s by ", " by ", 1) for what in run.ran_of}
    ran = ", ".join(f"{count} {what if count != 1 else one[what]}" for what, count in run.ran_of.items())
    lines = [f"reused {run.reused} results{f' ({taken})' if taken else ''}, ran {run.ran}{f': {ran}' if ran else ''}"]
    return lines + ([f"changed since: {', '.join(run.changed)}"] if run.changed else [])


def finish(run: Run, as_json: bool) -> None:
    """Print the table (or the result file's JSON) and where it is stored; exit with 4 if a row is incomplete."""
    from rich.console import Console

    from harness import escape
    from harness.evidence.leaderboard.table import render
    from harness.evidence.result_file import dumps
    from harness.text import writable

    if as_json:
        print(writable(dumps(run.result)), end="")
    else:
        console = Console(width=None if sys.stdout.isatty() else 160)
        console.print(render(run.result))
        for line in work_done(run):
            console.print(escape.line(line), highlight=False, markup=False, soft_wrap=True)
        console.print(escape.line(f"run          {run.folder}"), highlight=False, markup=False, soft_wrap=True)
        if run.leaderboard:
            console.print(escape.line(f"leaderboard  {run.leaderboard}"), highlight=False, markup=False, soft_wrap=True)
    for row in run.result.rows:
        for why in row.unranked:
            print(escape.line(f"harness: {row.method} is not ranked: {why}"), file=sys.stderr)
    if not run.complete:
        head, *others = run.result.tables
        missing = sum(row.expected - row.scored for row in head.rows)
        missing += sum(row.errors for table in others for row in table.rows)
        print(
            f"harness: {missing} scores are missing because of errors; `harness resume {run.folder}` tries again",
            file=sys.stderr,
        )
        raise typer.Exit(4)
