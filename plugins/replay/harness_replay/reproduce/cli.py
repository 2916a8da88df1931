"""``harness reproduce``."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from harness.evidence.result import ResultFile
    from harness_replay.reproduce.tables import PublishedTable


def command(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="A published table; without it, all are listed.")] = "",
    panel: Annotated[str, typer.Option(help="One of the table's panels, such as a model; default all.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost; download and run nothing.")
    ] = False,
    toy: Annotated[bool, typer.Option("--toy", help="The same rows on the embedded model, in minutes.")] = False,
    subset: Annotated[bool, typer.Option("--subset", help="The table's smaller run that is still faithful.")] = False,
    of: Annotated[
        list[Path] | None, typer.Option("--of", help="A finished run's folder to show beside the published figures.")
    ] = None,
    data: Annotated[str, typer.Option(help="The task's data, as for harness run.")] = "",
    judge: Annotated[str, typer.Option(help="Another judge, for all rows.")] = "",
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 0,
    max_cost: Annotated[float, typer.Option(help="US dollars that each remote model may cost.")] = 0.0,
    max_judge_calls: Annotated[int, typer.Option(help="Calls that a remote judge may make.")] = 0,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, over the table's configuration.")
    ] = None,
    out: Annotated[str, typer.Option(help="Folder in which the run's folder is made.")] = "",
    gpu: Annotated[
        str, typer.Option(help="GPU that --dry-run computes for: h200, h100, a100, l40s, rtx4090.")
    ] = "h200",
    gpu_price: Annotated[float, typer.Option(help="US dollars per GPU hour; 0 takes a rough market price.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run all rows of a published table as one configuration, and print our figures beside the published ones.

    Examples:

      harness reproduce

      harness reproduce seal-n1 --dry-run

      harness reproduce seal-n1 --toy

      harness reproduce seal-n1 --of runs/20261120-101500-seal-squad-ab12

    Exit codes: 0 done, 2 usage error, 4 a row is incomplete (harness resume goes on, and --of shows it then).
    """
    from harness.cli.output import answer_alone
    from harness.errors import UsageError
    from harness.runs import runner
    from harness.runs.tables import parse_set
    from harness.session.progress import on_terminal
    from harness_replay.reproduce import tables

    if not name:
        _listed(tables.names(), as_json)
        return
    table = tables.read(name)
    panels = [panel] if panel else list(table.panels)
    runs = {one: table.configuration(one, toy=toy, subset=subset) for one in panels}
    extra: dict[str, Any] = parse_set(assign or [])
    extra |= {key: value for key, value in {"judge": judge, "seeds": seeds, "max_cost": max_cost, "out": out,
                                            "max_judge_calls": max_judge_calls}.items() if value}  # fmt: skip
    if data:
        extra = tables.merged(extra, {"task": {"data": data}})
    runs = {one: _over(given, extra) for one, given in runs.items()}
    if dry_run:
        _dry(table, runs, gpu, gpu_price, as_json, subset=subset, extra=extra)
        return
    if of:
        if len(of) != len(panels):
            raise UsageError(f"--of: {len(of)} runs for {len(panels)} panels; name one with --panel")
        found = {one: runner.open_run(folder).result for one, folder in zip(panels, of, strict=True)}
    else:
        with answer_alone(as_json):
            done = {one: runner.run(given, layers=(f"reproduce {name}",), progress=on_terminal())
                    for one, given in runs.items()}  # fmt: skip
        found = {one: run.result for one, run in done.items()}
        for run in done.values():
            typer.echo(f"run {run.folder}", err=True)
    lacking = _show(table, found, as_json, toy=toy)
    if lacking:
        raise typer.Exit(4)


def _over(given: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """What the user gave on top; a slot that the table only names becomes a table first."""
    from harness_replay.reproduce.tables import merged

    under = {key: {"use": value} if isinstance(value, str) and isinstance(extra.get(key), Mapping) else value
             for key, value in given.items()}  # fmt: skip
    return merged(under, extra)


def _listed(names: Mapping[str, str], as_json: bool) -> None:
    from harness_replay.reproduce import tables

    found = {name: tables.read(name) for name in names}
    if as_json:
        typer.echo(json.dumps({name: {"title": one.title, "paper": one.paper} for name, one in found.items()}))
        return
    width = max((len(name) for name in found), default=0)
    for name, one in found.items():
        typer.echo(f"{name:{width}}  {one.title}")


def _dry(
    table: PublishedTable,
    runs: Mapping[str, Mapping[str, Any]],
    gpu: str,
    gpu_price: float,
    as_json: bool,
    *,
    subset: bool,
    extra: Mapping[str, Any],
) -> None:
    from harness.registry.discover import Plugins
    from harness_replay.reproduce.cost import Estimate, estimate

    plugins = Plugins()
    found: dict[str, Estimate] = {}
    for panel, given in runs.items():
        found[panel or table.name] = estimate(table, given, plugins, gpu, gpu_price)
        if table.subset and not subset:
            smaller = _over(table.configuration(panel, subset=True), extra)
            found[f"{panel or table.name}, --subset"] = estimate(table, smaller, plugins, gpu, gpu_price)
    if as_json:
        said = {name: {**dataclasses.asdict(one), "usd": one.usd} for name, one in found.items()}
        typer.echo(json.dumps(said, indent=1))
        return
    typer.echo(f"{table.title} ({table.paper})\n")
    for name, one in found.items():
        fits = "" if one.fits else f": more than one {one.gpu} has"
        typer.echo(name)
        typer.echo(f"  GPU time   about {one.gpu_hours:.3g} hours of one {one.gpu}, ${one.gpu_usd:,.0f}")
        typer.echo(f"  judge      at most {one.judge_calls:,} calls, {_dollars(one.judge_usd)}")
        typer.echo(f"  editors    {_dollars(one.editor_usd)}")
        typer.echo(f"  in all     {_dollars(one.usd)}")
        typer.echo(f"  disk       about {one.disk_gb:.0f} GB   GPU memory about {one.memory_gb:.0f} GB{fits}")
        for arm, (hours, usd) in one.arms.items():
            typer.echo(f"    {arm}: {hours:.2g} GPU hours{f', {_dollars(usd)} for its remote models' if usd else ''}")
    typer.echo("\nEstimated from counts, lengths and data-sheet peaks; nothing was downloaded or run.")
    _said("differs from the published run", table.departures)


def _dollars(usd: float | None) -> str:
    return "price unknown" if usd is None else f"${usd:,.2f}"


def _show(table: PublishedTable, found: Mapping[str, ResultFile], as_json: bool, *, toy: bool) -> list[str]:
    """Print our figures beside the published ones; returns the rows that are incomplete."""
    from rich.console import Console
    from rich.table import Table

    from harness.escape import rich
    from harness_replay.reproduce.beside import beside, incomplete, together

    lines = {panel: beside(result, table, panel) for panel, result in found.items()}
    if as_json:
        typer.echo(json.dumps({
            panel or table.name: {"run": found[panel].run, "rank_together": together(found[panel]),
                                  "rows": [dataclasses.asdict(line) for line in mine]}
            for panel, mine in lines.items()
        }))  # fmt: skip
        return [row for result in found.values() for row in incomplete(result)]
    console = Console(width=None if sys.stdout.isatty() else 140)
    for panel, mine in lines.items():
        shown = Table(title=rich(" ".join(filter(None, (table.title, panel)))), box=None)
        for column in ("row", "arm", "published", "ours", "95%", "difference", "95% ", "verdict"):
            shown.add_column(column, justify="left" if column in ("row", "arm", "verdict") else "right")
        for one in mine:
            arm = one.arm if one.table == "score" else f"{one.arm}: {one.table}"
            verdict = (
                "toy: not comparable"
                if toy and one.verdict not in ("not measured", "nothing published")
                else one.verdict
            )
            shown.add_row(
                rich(one.called), rich(arm), _number(one.published), _number(one.ours), _range(one.low, one.high),
                _number(one.difference, "+"), _range(one.difference_low, one.difference_high, "+"), verdict,
            )  # fmt: skip
        console.print(shown)
        typer.echo(together(found[panel]))
    _said("differs from the published run", table.departures)
    _said("note", [*table.notes, *(f"{one.called}: {one.note}" for mine in lines.values() for one in mine if one.note)])
    return [row for result in found.values() for row in incomplete(result)]


def _number(value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.1f}"


def _range(low: float | None, high: float | None, sign: str = "") -> str:
    return "–" if low is None or high is None else f"{_number(low, sign)} to {_number(high, sign)}"


def _said(title: str, texts: Sequence[str]) -> None:
    for text in texts:
        typer.echo(f"{title}: {text}")
