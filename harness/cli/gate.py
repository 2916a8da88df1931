"""``harness gate``: compare a run with a baseline, for CI."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.evidence.gate.verdict import Check, Gate
    from harness.evidence.result import ResultFile


def command(
    baseline: Annotated[Path | None, typer.Option(help="The baseline's result file.")] = None,
    run: Annotated[Path | None, typer.Option(help="The run: its folder or result file.")] = None,
    margin: Annotated[float, typer.Option(help="Smallest drop that fails, as a fraction.")] = 0.02,
    confirm: Annotated[int, typer.Option(help="Further seeds to run before a regression is believed.")] = 0,
    trust: Annotated[
        bool, typer.Option("--trust", help="With --confirm: run the plugin files that a run from elsewhere names.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 5 if the gate is inconclusive.")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Golden tier: every score must be equal.")] = False,
    accept_one_seed: Annotated[
        bool, typer.Option("--accept-one-seed", help="Give a verdict for one seed too; it holds for that seed alone.")
    ] = False,
    table: Annotated[str, typer.Option(help="Gate on this table instead of the headline.")] = "",
    accept: Annotated[
        bool, typer.Option("--accept", help="Make the run the new baseline; by default the files of the last gate.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why the run is accepted; kept in the baseline.")] = "",
    out: Annotated[Path, typer.Option(help="File for verdict and figures as JSON.")] = Path("gate.json"),
    junit: Annotated[Path, typer.Option(help="File for JUnit XML.")] = Path("gate.xml"),
    summary: Annotated[Path, typer.Option(help="File for the Markdown summary.")] = Path("gate.md"),
) -> None:
    """Compare a run with a baseline: pass, improved, regressed, inconclusive, incomparable or error.

    Scores are paired by query, over seeds and contexts. Below 8 contexts, or with one seed on a side, the verdict is
    inconclusive and says why.

    Example:  harness gate --baseline benchmarks/baselines/seal.json --run runs/20261120-101500-seal-lab-facts

    Exit codes: 0 pass or improved, 1 regressed, 2 usage error, 3 no baseline or incomparable, 4 run error or nothing
    measured, 5 inconclusive under --strict.
    """
    from harness.errors import UsageError
    from harness.escape import line
    from harness.evidence.gate.baseline import accept as replace_baseline
    from harness.evidence.gate.outputs import write_all
    from harness.evidence.sources import open_file

    if not 0 <= margin < 1:
        raise UsageError(f"--margin is a fraction such as 0.02, not {margin}")
    if confirm < 0:
        raise UsageError(f"--confirm is a number of seeds, not {confirm}")
    if accept and (baseline is None or run is None):
        baseline, run = _last(out, baseline, run)
    if baseline is None or run is None:
        raise UsageError("a gate needs --baseline FILE and --run RUN")
    if accept:
        made = replace_baseline(baseline, open_file(run), reason)
        typer.echo(line(f"{baseline}: now run {made.run}"))
        return
    if reason:
        raise UsageError("--reason goes with --accept")
    gate = _gate(baseline, run, margin, confirm, exact, table, trust, accept_one_seed)
    gate = replace(gate, baseline=str(baseline), run=str(run))
    write_all(gate, result=out, junit=junit, summary=summary, strict=strict)
    for check in gate.checks:
        typer.echo(line(f"{check.method}: {check.verdict}: {check.reason}"))
    for note in gate.notes:
        typer.echo(line(note), err=True)
    typer.echo(f"verdict: {gate.verdict}")
    raise typer.Exit(gate.exit_code(strict=strict))


def _last(out: Path, baseline: Path | None, run: Path | None) -> tuple[Path, Path]:
    """Baseline and run of the last gate. Raises ``UsageError`` if there was none."""
    from harness.errors import UsageError
    from harness.reading import read_json

    try:
        last = read_json(out)
        return baseline or Path(last["baseline"]), run or Path(last["run"])
    except (UsageError, KeyError, TypeError):
        raise UsageError(f"--accept: no gate was run here ({out}); give --baseline FILE and --run RUN") from None


def _gate(
    baseline: Path, run: Path, margin: float, confirm: int, exact: bool, table: str, trust: bool, accept_one_seed: bool
) -> Gate:
    """The gate's outcome; if nothing can be measured, that is an outcome too."""
    from harness.api import HarnessError
    from harness.evidence.gate import verdict
    from harness.evidence.gate.baseline import NoBaseline, load
    from harness.evidence.sources import open_file

    try:
        base = load(baseline)
        base = base.of_table(table) if table else base
    except NoBaseline as error:
        return verdict.Gate(baseline.stem, (verdict.Check("baseline", "incomparable", str(error)),), margin)
    name = f"{base.task.name} {base.task.version} {base.task.split}"
    try:
        head = open_file(run, table=table)
        checks = (
            verdict.exact(base, head)
            if exact
            else verdict.check_all(base, head, margin=margin, accept_one_seed=accept_one_seed)
        )
    except HarnessError as error:
        return verdict.Gate(name, (verdict.Check("run", "error", str(error)),), margin)
    if not checks:
        checks = [verdict.Check("baseline", "incomparable", f"{baseline} has no rows with scores")]
    notes = [*_notes(base, head), *verdict.notes(base, head)]
    if confirm and not exact and any(check.verdict == "regressed" for check in checks):
        checks = _confirm(base, head, run, confirm, checks, margin, table, trust, accept_one_seed)
    return verdict.Gate(name, tuple(checks), margin, tuple(notes))


def _confirm(
    base: ResultFile,
    head: ResultFile,
    folder: Path,
    count: int,
    checks: list[Check],
    margin: float,
    table: str,
    trust: bool,
    accept_one_seed: bool,
) -> list[Check]:
    """Run further seeds of the same configuration, and test again with them."""
    from harness.errors import UsageError
    from harness.evidence.gate.verdict import confirm
    from harness.runs import record as records
    from harness.runs.runner import run
    from harness.runs.trust import check_trust

    if not (folder / records.NAME).exists():
        raise UsageError(f"--confirm runs further seeds and needs the run's folder, not {folder}")
    record = records.read(folder)
    check_trust(folder, record, trust)
    first = 1 + max(seed for row in head.rows for seed in row.seeds)
    again = {**record["given"], "seed": first, "seeds": count, "leaderboard": ""}
    further = run(
        again, plugin_files=[Path(file) for file in record["plugin_files"]], layers=[*record["layers"], "gate"]
    )
    more = further.result.of_table(table) if table else further.result
    return confirm(base, head, more, checks, margin, accept_one_seed)


def _notes(base: ResultFile, head: ResultFile) -> list[str]:
    """Differences of hardware or software, which may explain a difference of scores without the method."""
    changed = [
        name
        for name in sorted({*base.environment, *head.environment} - {"accepted", "time", "started", "commit"})
        if base.environment.get(name) != head.environment.get(name)
    ]
    return [f"environments differ in {', '.join(changed)}"] if changed else []
