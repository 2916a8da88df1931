"""``harness resume``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Take changed plugins and presets; run again what they touch.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result file instead of the table.")] = False,
) -> None:
    """Go on with a run where it stopped: what is booked is not done again, and errors are tried again.

    Example:  harness resume runs/20261120-101500-seal-lab-facts
    """
    from harness.cli.output import answer_alone, finish
    from harness.runs import runner
    from harness.session.progress import on_terminal

    with answer_alone(as_json):
        done = runner.resume(run, recompute=recompute, progress=on_terminal())
    finish(done, as_json)
