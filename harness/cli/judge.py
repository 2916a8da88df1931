"""``harness judge``: compare a judge with recorded verdicts, correct its scores, train the offline judges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Compare a judge with recorded verdicts, correct its scores or train it.")

OFFLINE = ("exact", "f1", "contains", "recall", "offline-1", "offline-2")


@app.command("calibrate")
def calibrate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Published logs with recorded verdicts.")],
    judge: Annotated[
        list[str] | None, typer.Option(help="Judges to compare with them; by default all offline ones.")
    ] = None,
    max_judge_calls: Annotated[int, typer.Option(help="Calls that a remote judge may make; 0 means no limit.")] = 0,
    max_cost: Annotated[float, typer.Option(help="US dollars that a remote judge may spend; 0 means no limit.")] = 0.0,
    cache: Annotated[Path, typer.Option(help="Folder for a remote judge's verdicts.")] = Path(".harness/judge"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Accuracy and Cohen's kappa over distinct (question, gold, answer) triples, and how the arms' order changes.

    Example:  harness judge calibrate scored/*.json --judge exact

    Exit codes: 0 done, 2 bad input, 4 a judge gave no verdict.
    """
    from harness.evidence.judge_agreement import arms, swaps
    from harness.evidence.judge_agreement import calibrate as measure_agreement
    from harness.evidence.logs import read_verdicts
    from harness.evidence.sources import open_file
    from harness.judges.base import Budget
    from harness.judges.load import load

    budget = Budget(max_judge_calls, max_cost, cache)
    graders = [load(name, budget) for name in judge or OFFLINE]
    verdicts = read_verdicts(files)
    as_published = [open_file(path) for path in _with_rows(files)]
    found = []
    for grader in graders:
        one = measure_agreement(grader, verdicts)
        groups = arms(as_published, [open_file(path, grader) for path in _with_rows(files)])
        found.append(
            {
                "judge": one.judge,
                **_agreement(one.all),
                "held_out": _agreement(one.held_out) if one.held_out else None,
                "seen": one.seen,
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
    for name in ("judge", "accuracy", "kappa", "95% interval", "unanswered", "pairs of arms reversed"):
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
        if one["seen"]:
            console.print(
                f"{one['judge']}: its fit saw the titles of {one['seen']} of {one['n']} answers; `harness judge train` "
                "prints its agreement on titles left out",
                highlight=False, markup=False, soft_wrap=True,
            )  # fmt: skip
        for ahead, instead in one["swaps"]:
            console.print(
                escape.line(f"{one['judge']}: puts {instead} before {ahead}"),
                highlight=False,
                markup=False,
                soft_wrap=True,
            )


@app.command("correct")
def correct(
    rows: Annotated[
        list[str],
        typer.Argument(
            metavar="WEAK STRONG [WEAK_B STRONG_B]",
            help="One row under two judges: runs, result files or logs; PATH#METHOD picks a row. Four give B - A.",
        ),
    ],
    judge: Annotated[str, typer.Option(help="Judge that grades WEAK if it is a published log.")] = "offline-2",
    contexts: Annotated[int, typer.Option(help="Use the strong verdicts of this many contexts; 0 means all.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed for drawing those contexts.")] = 0,
    average: Annotated[str, typer.Option(help="macro or micro; the task's own by default.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """A weak judge's score, corrected by a strong judge's verdicts on some of the same answers, with its interval.

    The method is prediction-powered inference (arXiv 2301.09633). The strong verdicts must come from a random draw of
    the contexts.

    Exit codes: 0 done, 2 bad input, 4 not the same row under two judges, or too few strong verdicts.
    """
    from dataclasses import asdict

    from harness.errors import UsageError
    from harness.evidence.prediction_powered import describe, of_rows
    from harness.evidence.sources import open_source
    from harness.judges.load import load

    if len(rows) not in (2, 4):
        raise UsageError(f"judge correct takes WEAK STRONG, or WEAK STRONG WEAK_B STRONG_B, not {len(rows)} rows")
    if average not in ("", "macro", "micro"):
        raise UsageError(f"--average is macro or micro, not {average!r}")
    if contexts < 0:
        raise UsageError(f"--contexts is a number of contexts, not {contexts}")
    grader = load(judge)
    pairs = [(open_source(rows[at], grader), open_source(rows[at + 1])) for at in range(0, len(rows), 2)]
    chosen: Any = average or None
    found = of_rows(pairs, chosen, contexts, seed)
    typer.echo(json.dumps(asdict(found), indent=1) if as_json else "\n".join(describe(found, len(pairs) == 2)))


@app.command("train")
def train(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Published logs with recorded verdicts.")],
    judge: Annotated[
        str, typer.Option(help="Judge whose coefficients are fitted: offline-1 or offline-2.")
    ] = "offline-2",
    out: Annotated[
        Path | None, typer.Option(help="File for the coefficients; harness/judges/JUDGE.json by default.")
    ] = None,
) -> None:
    """Fit an offline judge's coefficients, and report its agreement on titles that were left out of the fit.

    The bias of each arm is measured with fits that saw neither the arm nor its titles.
    """
    from harness.evidence.judge_training import as_json
    from harness.evidence.judge_training import train as fit
    from harness.evidence.logs import recorded, verdicts_of
    from harness.files import write_text

    where = out or Path(f"harness/judges/{judge}.json")
    records = [one for path in files for one in recorded(path)]
    verdicts = verdicts_of(records)
    folders = " ".join(dict.fromkeys(f"{path.parent.name}/*.json" for path in files))
    command = f"harness judge train {folders} --judge {judge} --out {where.name}"
    made = as_json(judge, fit(judge, verdicts, records), verdicts, records, files, command)
    write_text(where, json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    held, error = made["titles_left_out"], made["error"]
    typer.echo(f"{where}: kappa {held['kappa']:.3f} {held['kappa_ci95']} on {held['n']} answers with titles left out")
    if error:
        typer.echo(
            f"bias against {error['reference']} {100 * error['bias']:+.1f} points on average over {error['arms']} "
            f"left-out arms, standard deviation between them {100 * error['spread']:.1f}"
        )
