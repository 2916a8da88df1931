"""``harness entigraph-scaling``: accuracy against synthetic tokens, and the line through it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import UsageError
from harness_entigraph import scaling


def command(
    shares: Annotated[
        str, typer.Option(help="Shares of the synthetic text, one row each; comma-separated, up to 1.")
    ] = ",".join(map(str, scaling.SHARES)),
    of: Annotated[Path | None, typer.Option(help="A finished run's folder, instead of a new run.")] = None,
    plugin: Annotated[str, typer.Option("--plugin", "-p", help="entigraph or entigraph-triples.")] = "entigraph",
    preset: Annotated[str, typer.Option(help="The method's preset; lab-cpt with the embedded model.")] = "",
    model: Annotated[str, typer.Option(help="lab (default), a folder, or a hub id.")] = "",
    task: Annotated[str, typer.Option(help="Task: lab-facts (default with the lab model), squad, ...")] = "",
    data: Annotated[str, typer.Option(help="The task's data, as for harness run.")] = "",
    seeds: Annotated[int, typer.Option(help="Number of seeds; 0 takes the preset's.")] = 0,
    assign: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE over the configuration.")] = None,
    out: Annotated[str, typer.Option(help="Folder of the runs.")] = "runs",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Learn growing shares of the same synthetic texts, and fit a line to score against the logarithm of their size.

    It is a run with one row per share, so `harness resume` goes on with one that was stopped; --of shows it then.

    Examples:

      harness entigraph-scaling

      harness entigraph-scaling --plugin entigraph-triples --shares 0.1,0.3,1 --seeds 3

      harness entigraph-scaling --of runs/20261121-101500-entigraph-lab-facts-ab12 --json
    """
    from harness.cli.output import answer_alone
    from harness.runs import runner
    from harness.session.progress import on_terminal

    folder = of
    if folder is None:
        given = configured(_shares(shares), plugin, preset, model, assign or ())
        given |= {name: value for name, value in {"seeds": seeds, "out": out}.items() if value}
        asked_task = {name: value for name, value in {"use": task, "data": data}.items() if value}
        if asked_task:
            given["task"] = {**given.get("task", {}), **asked_task}
        with answer_alone(as_json):
            folder = runner.run(given, layers=("entigraph-scaling",), progress=on_terminal()).folder
    points = scaling.points_of(folder)
    line = scaling.fit(points)
    if as_json:
        rows = [{"row": point.name, "words": point.tokens, "score": point.score} for point in points]
        print(json.dumps({"rows": rows, "fit": asdict(line)}, indent=1))
    else:
        print(scaling.shown(points, line))


def configured(
    shares: tuple[float, ...], plugin: str, preset: str, model: str, assign: list[str] | tuple[()]
) -> dict[str, Any]:
    """The run's configuration: the method with all its text, and a variant for each smaller share."""
    from harness.runs.tables import parse_set

    lab = model in ("", "lab")
    given: dict[str, Any] = {
        "method": plugin,
        "preset": preset or ("lab-cpt" if lab else ""),
        "beside": ["none"],
        "leaderboard": "",
        "variants": {f"share-{share:g}": {"method": plugin, "editor": {"share": share}} for share in shares[:-1]},
    }
    if model:
        given["model"] = model
    for key, value in parse_set(assign).items():
        under = given.get(key)
        given[key] = {**under, **value} if isinstance(value, dict) and isinstance(under, dict) else value
    return given


def _shares(text: str) -> tuple[float, ...]:
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        raise UsageError(
            f"--shares: write numbers with commas between them, such as 0.25,0.5,1; not {text!r}"
        ) from None
    if len(found) < 3 or found[0] <= 0 or found[-1] != 1:
        raise UsageError(f"--shares: name at least three shares above 0, of which the largest is 1; not {text!r}")
    return tuple(found)
