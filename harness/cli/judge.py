"""``harness judge``: hold a judge against recorded verdicts, and train the offline one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Hold a judge against recorded verdicts.")

OFFLINE = ("exact", "f1", "contains", "recall", "offline-1")


@app.command("calibrate")
def calibrate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Published logs with recorded verdicts.")],
    judge: Annotated[
        list[str] | None, typer.Option(help="Judges to hold against them; all offline ones by default.")
    ] = None,
    max_judge_calls: Annotated[int, typer.Option(help="Calls that a remote judge may make; 0 is no limit.")] = 0,
    max_cost: Annotated[float, typer.Option(help="US dollars that a remote judge may spend; 0 is no limit.")] = 0.0,
    cache: Annotated[Path, typer.Option(help="Folder of a remote judge's verdicts.")] = Path(".harness/judge"),
    base_url: Annotated[str, typer.Option(help="An OpenAI-compatible endpoint instead of OpenAI's.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Accuracy and Cohen's kappa over distinct (question, gold, answer) triples, and how the arms' order changes.

    Exit codes: 0 done, 2 bad input, 4 a judge gave no verdict.
    """
    from harness.evidence.judge_agreement import arms, swaps
    from harness.evidence.judge_agreement import calibrate as hold
    from harness.evidence.logs import read_verdicts
    from harness.evidence.sources import open_file
    from harness.judges.base import Budget
    from harness.judges.load import load

    budget = Budget(max_judge_calls, max_cost, cache, base_url)
    graders = [load(name, budget) for name in judge or OFFLINE]
    verdicts = read_verdicts(files)
    as_published = [open_file(path) for path in _with_rows(files)]
    found = []
    for grader in graders:
        one = hold(grader, verdicts)
        groups = arms(as_published, [open_file(path, grader) for path in _with_rows(files)])
        found.append(
            {
                "judge": one.judge,
                **_agreement(one.all),
                "held_out": _agreement(one.held_out) if one.held_out else None,
                "unanswered": one.unanswered,
                "arms": [[vars(arm) for arm in group] for group in groups],
                "swaps": [list(pair) for group in groups for pair in swaps(group)],
            }
        )
    summary = {"records": verdicts.records, "triples": len(verdicts.kept) + verdicts.contradictory,
               "contradictory": verdicts.contradictory, "judges": found}  # fmt: skip
    if as_json:
        typer.echo(json.dumps(summary, indent=1))
    else:
        _print(summary)


def _with_rows(files: list[Path]) -> list[Path]:
    from harness.evidence import logs

    return [path for path in files if logs.recorded(path)]


def _agreement(one: Any) -> dict[str, Any]:
    return {
        "n": one.n,
        "accuracy": one.accuracy,
        "kappa": one.kappa,
        "kappa_ci95": [one.interval.low, one.interval.high],
    }


def _print(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from harness import escape

    table = Table(
        title=f"{summary['triples']} distinct triples, {summary['contradictory']} of them contradictory and left out"
    )
    for name in ("judge", "accuracy", "kappa", "95% interval", "unanswered", "pairs of arms turned around"):
        table.add_column(name, justify="left" if name == "judge" else "right")
    for one in summary["judges"]:
        for label, part in ((one["judge"], one), (f"{one['judge']}, titles not trained on", one["held_out"])):
            if part is not None:
                low, high = part["kappa_ci95"]
                table.add_row(escape.rich(label),
                              f"{part['accuracy']:.3f}", f"{part['kappa']:.2f}", f"{low:.2f}–{high:.2f}",
                              str(one["unanswered"]), str(len(one["swaps"])))  # fmt: skip
    console = Console()
    console.print(table)
    for one in summary["judges"]:
        for ahead, instead in one["swaps"]:
            console.print(
                escape.line(f"{one['judge']}: puts {instead} before {ahead}"),
                highlight=False,
                markup=False,
                soft_wrap=True,
            )


@app.command("train")
def train(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Published logs with recorded verdicts.")],
    out: Annotated[Path, typer.Option(help="Where the coefficients are written.")] = Path(
        "harness/judges/offline-1.json"
    ),
) -> None:
    """Learn the offline judge's coefficients on one half of the titles, and report agreement on the other half."""
    from harness.evidence.judge_agreement import as_json
    from harness.evidence.judge_agreement import train as fit
    from harness.evidence.logs import read_verdicts
    from harness.files import write_text

    verdicts = read_verdicts(files)
    folders = " ".join(dict.fromkeys(f"{path.parent.name}/*.json" for path in files))
    made = as_json(fit(verdicts), verdicts, files, f"harness judge train {folders} --out {out.name}")
    write_text(out, json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    held = made["held_out"]
    typer.echo(f"{out}: kappa {held['kappa']:.3f} {held['kappa_ci95']} on {held['n']} answers of titles not trained on")
