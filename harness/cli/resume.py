"""``harness resume``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute",
            help="Accept changed plugins, presets, versions and machines, and damage: run what they affect again.",
        ),
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the plugin files that a run from elsewhere names.")
    ] = False,
    max_cost: Annotated[
        float,
        typer.Option(min=0.0, help="US dollars that each remote model may cost in the whole run; replaces its limit."),
    ] = 0.0,
    devices: Annotated[
        str, typer.Option(help="Workers for local models: cpu:2, cuda:0,1, or cuda:x4 (docs/scale.md).")
    ] = "",
    executor: Annotated[str, typer.Option(help="Who starts them: processes (default), ray, or module:Class.")] = "",
    address: Annotated[str, typer.Option(help="Of the executor's cluster, such as auto with ray.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result file instead of the table.")] = False,
) -> None:
    """Continue a run where it stopped: finished work is not done again, and errors are tried again.

    Example:  harness resume runs/20261120-101500-seal-lab-facts
    """
    from harness.cli.output import answer_alone, finish
    from harness.errors import UsageError
    from harness.runs import runner
    from harness.session.progress import on_terminal
    from harness.workers.chosen import Workers

    if max_cost == float("inf"):
        raise UsageError("--max-cost inf is no number of US dollars; leave it out for the run's own limit")
    with answer_alone(as_json):
        workers = Workers(devices, executor, address)
        done = runner.resume(
            run, recompute=recompute, trust=trust, max_cost=max_cost, progress=on_terminal(), workers=workers
        )
    finish(done, as_json)
