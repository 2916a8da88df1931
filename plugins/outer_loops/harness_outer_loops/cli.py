"""``harness reward-report``: what a reward is worth on a task, against the mean of many updates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import RunError

REPORT = "reward-report.json"


def command(
    plugin: Annotated[str, typer.Option("--plugin", "-p", help="Method that writes and learns.")] = "seal-grpo",
    reward: Annotated[str, typer.Option(help="The reward; by default the method's own.")] = "",
    task: Annotated[str, typer.Option(help="Task: lab-facts (default with the lab model), squad, ...")] = "",
    model: Annotated[str, typer.Option(help="lab (default), a folder, or a hub id.")] = "",
    contexts: Annotated[int, typer.Option(help="Training contexts.")] = 40,
    samples: Annotated[int, typer.Option(help="Candidate edits of each.")] = 5,
    repeats: Annotated[int, typer.Option(help="How often the reward rates each, with other seeds.")] = 3,
    truth_seeds: Annotated[int, typer.Option(help="Updates of each whose mean accuracy is the truth.")] = 6,
    assign: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE over the configuration.")] = None,
    out: Annotated[str, typer.Option(help="Folder of the runs.")] = "runs",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure reliability, validity, what the picks are truly worth, and the cost of a reward.

    It is a run of one method without training, so `harness resume` goes on with one that was stopped.

    Examples:

      harness reward-report --reward trial-probability

      harness reward-report --reward screen --repeats 1 --contexts 20 --set task.seed=7
    """
    from harness.cli.output import answer_alone
    from harness.runs import runner
    from harness.runs.tables import parse_set
    from harness.session.progress import on_terminal

    settings = {"contexts": contexts, "samples": samples, "repeats": repeats, "truth_seeds": truth_seeds}
    given: dict[str, Any] = {
        "method": plugin, "beside": [], "limit": 1, "validation": 0, "leaderboard": "", "out": out,
        "trainer": {"use": "reward-report", **settings},
    }  # fmt: skip
    given |= {name: value for name, value in {"task": task, "model": model}.items() if value}
    if reward:
        given["reward"] = {"use": reward}
    for key, value in parse_set(assign or []).items():
        under = given.get(key)
        given[key] = {**under, **value} if isinstance(value, dict) and isinstance(under, dict) else value
    with answer_alone(as_json):
        done = runner.run(given, layers=("reward-report",), progress=on_terminal())
    path = done.folder / REPORT
    if not path.is_file():
        raise RunError(f"{done.folder}: no report: in no context could every candidate be rated")
    report = json.loads(path.read_text("utf-8"))
    print(json.dumps(report, indent=1) if as_json else shown(report, path))


def shown(report: Mapping[str, Any], path: Path) -> str:
    """The report as lines of text."""
    lines = [
        f"{report['contexts']} contexts x {report['candidates']} candidates, each rated {report['repeats']} times and "
        f"tried {report['truth_seeds']} times ({report['left_out']} contexts left out)",
        *(f"reliability at {n:>2} seeds   {_estimate(one)}" for n, one in report["reliability"].items()),
        f"validity                {_estimate(report['validity'])}",
        f"true value: random      {100 * report['random']:.1f}",
        *(
            f"  pick at {n} seeds       {_estimate(one, 100, 1)}   regret {100 * report['regret'][n]:.1f}"
            for n, one in report["pick"].items()
        ),
        f"  best                  {100 * report['best']:.1f}",
        f"CPU seconds a rating    {report['cpu_seconds']:.3f}",
        "largest disagreements:",
    ]
    for one in report["disagreements"]:
        lines.append(f"  {one['edit']}: reward {one['reward']:.3f}, truth {one['truth']:.3f}: {one['text'][:300]}")
    return "\n".join([*lines, f"all figures: {path}"])


def _estimate(one: Mapping[str, float | None], times: float = 1.0, places: int = 2) -> str:
    value, low, high = (one[name] for name in ("value", "low", "high"))
    if value is None:
        return "undefined (no variation)"
    said = f"{times * value:.{places}f}"
    return said if low is None or high is None else f"{said} [{times * low:.{places}f}, {times * high:.{places}f}]"
