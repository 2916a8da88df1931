"""``harness replay``: published logs, recomputed from their question rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import escape

app = typer.Typer(no_args_is_help=True, help="Recompute published results from their logs.")


@app.command("seal")
def seal(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Published result files or retention matrices.")
    ],
    judge: Annotated[
        str,
        typer.Option(
            help="recorded (the log's own verdicts), exact, f1, contains, recall, offline-1, offline-2, openai:MODEL."
        ),
    ] = "recorded",
    questions: Annotated[
        Path | None, typer.Option(help="Questions of a log without any: questions*.jsonl, or passages in order.")
    ] = None,
    max_judge_calls: Annotated[int, typer.Option(help="Calls that a remote judge may make; 0 means no limit.")] = 0,
    max_cost: Annotated[float, typer.Option(help="US dollars that a remote judge may spend; 0 means no limit.")] = 0.0,
    cache: Annotated[Path, typer.Option(help="Folder for a remote judge's verdicts.")] = Path(".harness/judge"),
    pool: Annotated[bool, typer.Option("--pool", help="Pool the retention matrices of several runs.")] = False,
    out: Annotated[str, typer.Option(help='Folder in which the logs are filed as runs; "" files none.')] = "runs",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per file, one per line.")] = False,
) -> None:
    """Recompute every figure of SEAL's published logs (arXiv 2506.10943, both versions) from the question rows.

    Exit codes: 0 all files replayed, 2 a file could not be replayed (the others are).
    """
    from harness.api import HarnessError
    from harness.judges.base import Budget
    from harness.judges.load import load
    from harness_replay import seal as reader

    grader = None if judge == "recorded" else load(judge, Budget(max_judge_calls, max_cost, cache))
    if pool:
        _print([reader.pooled(files)], as_json)
        return
    found, failed = [], 0
    for path in files:
        try:
            figures, graded = reader.replay(path, grader, questions)
        except HarnessError as error:
            typer.echo(f"error: {escape.line(str(error))}", err=True)
            failed = error.exit_code
            continue
        if out and graded is not None and graded.result.rows:
            _file(graded.result, Path(out))
        found.append(figures)
        if as_json:
            typer.echo(json.dumps(figures))
    if found and not as_json:
        _print(found, as_json)
    if failed:
        raise typer.Exit(failed)


def _file(result: Any, out: Path) -> None:
    from harness.errors import UsageError
    from harness.evidence.result_file import write

    try:
        write(result, out / result.run / "result.json")
    except OSError as error:
        raise UsageError(
            f"no run can be filed under {out}: {error.strerror}; choose --out DIR, or --out '' for none"
        ) from None


def _print(found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        for one in found:
            typer.echo(json.dumps(one))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Recomputed from the question rows; points")
    for name in ("file", "macro", "micro", "95% interval", "no update", "contexts", "queries", "scored/expected"):
        table.add_column(name, justify="left" if name == "file" else "right", overflow="fold")
    for one in found:
        low, high = one["ci95"] or (None, None)
        table.add_row(
            escape.rich(one["file"]), _points(one["macro"]), _points(one["micro"]),
            f"{_points(low)}–{_points(high)}" if one["ci95"] else "–",
            _points(one["baseline_macro"]), str(one["n_contexts"]), str(one["n_queries"] or "–"),
            f"{one['scored']}/{one['expected'] if one['expected'] is not None else '?'}",
        )  # fmt: skip
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for one in found:
        for note in _notes(one):
            console.print(escape.line(f"{one['file']}: {note}"), highlight=False, markup=False, soft_wrap=True)


def _notes(one: dict[str, Any]) -> list[str]:
    notes = list(one["notes"])
    if one.get("reliability"):
        found = one["reliability"]
        notes.append(
            f"reliability of the reward {found['value']:.3f}, 95% interval [{found['low']:.2f}, {found['high']:.2f}]"
        )
    if "proxy_mean" in one:
        notes.append(f"mean proxy score {one['proxy_mean']:.2f} of 20")
    if "backward_transfer" in one:
        notes.append(
            f"base {_points(one['base'])}, just learned {_points(one['learned'])}, final {_points(one['final'])}, "
            f"backward transfer {_points(one['backward_transfer'])}, forgetting {_points(one['forgetting'])}"
        )
    return notes


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


@app.command("rows")
def rows(
    data: Annotated[
        Path, typer.Option(help="Folder of the published logs (with scored/, continued_pretraining/, v2/).")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the result files.")] = Path("leaderboards/published"),
) -> None:
    """Write the published tables as result files; every figure that has a log is checked against it."""
    from harness.evidence.result_file import write
    from harness_replay.published import result_files

    for found in result_files(data):
        typer.echo(str(write(found, out / f"{found.run}.json")))


@app.command("report")
def report(
    data: Annotated[
        Path, typer.Option(help="Folder of the published logs (with scored/, continued_pretraining/, ...).")
    ],
    out: Annotated[Path, typer.Option(help="File for the page.")] = Path("docs/published-results.md"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit with 1 if the page is stale.")] = False,
) -> None:
    """Write the page that says what the published logs do and do not show; every figure comes from a replay."""
    from harness.files import write_text
    from harness_replay.report import page

    text = page(data)
    if check:
        if not out.exists() or out.read_text(encoding="utf-8") != text:
            typer.echo(f"{out} is stale; `harness replay report --data {data} --out {out}` writes it", err=True)
            raise typer.Exit(1)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text)
    typer.echo(str(out))
