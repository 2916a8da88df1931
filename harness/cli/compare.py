"""``harness compare A B``: is one better than the other, beyond noise?"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import escape

if TYPE_CHECKING:
    from harness.evidence.compare import Comparison

SHOWN = 10
"""How many flipped queries are named; the rest are counted, unless ``--flips`` names all."""


def command(
    first: Annotated[
        str, typer.Argument(metavar="A", help="Run folder, result file or published log; A#METHOD picks a row.")
    ],
    others: Annotated[
        list[str], typer.Argument(metavar="B...", help="What to compare with A; the p-values of several are adjusted.")
    ],
    judge: Annotated[
        str, typer.Option(help="Grade published logs with this judge instead of their own verdicts.")
    ] = "recorded",
    average: Annotated[str, typer.Option(help="macro or micro; the task's own by default.")] = "",
    table: Annotated[
        str, typer.Option(help="Compare by this table instead of the headline; NAME@STEP is one step.")
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Compare although the conditions differ; marks the output.")
    ] = False,
    accept_one_seed: Annotated[
        bool, typer.Option("--accept-one-seed", help="Give a verdict for one seed too; it holds for that seed alone.")
    ] = False,
    flips: Annotated[bool, typer.Option("--flips", help="Name every query that flipped.")] = False,
    questions: Annotated[Path | None, typer.Option(help="File with the questions of a log that lacks them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare B with A: difference, 95% interval and verdict, paired by query and clustered by context.

    Below 8 contexts, or with one seed on a side, the verdict is inconclusive and says why.

    Exit codes: 0 compared (whatever the verdict), 2 bad input, 3 incomparable, 4 nothing measured or run interrupted.
    """
    from harness.errors import UsageError
    from harness.evidence.compare import compare_all
    from harness.evidence.sources import open_source
    from harness.judges.load import load

    if average not in ("", "macro", "micro"):
        raise UsageError(f"--average is macro or micro, not {average!r}")
    grader = None if judge == "recorded" else load(judge)
    a, *rest = [open_source(given, grader, questions, table) for given in (first, *others)]
    found = compare_all(a, rest, force=force, average=average or None, accept_one_seed=accept_one_seed)
    if as_json:
        shown = [one.as_json() for one in found]
        typer.echo(json.dumps(shown[0] if len(shown) == 1 else {"comparisons": shown}, indent=1))
    else:
        for one in found:
            typer.echo(describe(one, flips))
    if any(one.verdict == "incomparable" for one in found):
        raise typer.Exit(3)


def describe(one: Comparison, flips: bool) -> str:
    """A comparison as a few lines of text."""
    lines = [f"B {one.b}", f"A {one.a}"]
    if one.verdict == "incomparable":
        why = [f"incomparable: {', '.join(one.differing)}", *(f"  {note}" for note in one.notes)]
        return "\n".join(map(escape.line, [*lines, *why, "  --force compares them all the same"]))
    low, high = one.ci95 or (None, None)
    show = partial(_difference, unit=one.unit)
    lines += [
        f"B - A  {show(one.difference)} {one.unit or 'points'}, 95% interval [{show(low)}, {show(high)}], p {one.p:.2g}"
        f"  ({_score(one.score_b, one.unit)} against {_score(one.score_a, one.unit)}, {one.average})",
        f"verdict  {one.verdict}{' (forced)' if one.forced else ''}{f': {one.why}' if one.why else ''}",
        f"over  {one.n_contexts} contexts, {one.n_queries} queries, seeds {one.seeds[0]} and {one.seeds[1]}",
    ]
    if one.mcnemar_p is not None:
        lines.append(f"exact McNemar  p {one.mcnemar_p:.2g} (ignores clustering)")
    if one.needed is not None:
        lines.append("to decide  " + _needed(one))
    for word, queries in (("won", one.won), ("lost", one.lost)):
        named = queries if flips else queries[:SHOWN]
        more = f" and {len(queries) - len(named)} more (--flips)" if len(queries) > len(named) else ""
        lines.append(f"{word}  {len(queries)}: {', '.join(named)}{more}" if queries else f"{word}  0")
    return "\n".join(map(escape.line, [*lines, *(f"note  {note}" for note in one.notes), ""]))


def _needed(one: Comparison) -> str:
    need = one.needed
    if need is None or not need.effect:
        return "the observed difference is 0: no number of contexts would show it"
    parts = [f"{count} {unit}" for count, unit in ((need.contexts, "contexts"), (need.seeds, "seeds")) if count]
    wanted = " or ".join(parts) if parts else "more contexts and more seeds together"
    effect = f"{_difference(need.effect, unit=one.unit)} {one.unit or 'points'}"
    return f"{wanted} for a true difference of {effect} at 80% power"


def _difference(value: float | None, *, unit: str) -> str:
    if value is None:
        return "–"
    return f"{value:+.3g}" if unit else f"{100 * value:+.1f}"


def _score(value: float | None, unit: str) -> str:
    from harness.evidence.leaderboard.table import shown

    return shown(value, unit)
