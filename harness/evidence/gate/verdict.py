"""The gate's verdicts: a drop fails a build only where it is both beyond noise and large enough to matter.

A gate makes two one-sided tests (did the score drop? is a drop as large as the margin excluded?), each at 5%, so its
interval is that of 90%. ``regressed`` needs the interval of head minus base to be below 0 *and* a drop of at least the
margin; where several rows are gated together their p-values are Holm-adjusted. ``pass`` means that a drop as large as
the margin is excluded; anything between is ``inconclusive``, with the contexts or seeds that would decide it. What
could not be measured is ``error``, never a pass and never a regression. Fewer than 8 contexts, or a single seed, do not
generalise: the verdict is then ``inconclusive``, unless a single seed is accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness import stats
from harness.errors import UsageError
from harness.evidence.compare import pair, too_little
from harness.evidence.conditions import code, describe, differing
from harness.evidence.result import ResultFile, Row, make_row
from harness.evidence.sources import Source

Outcome = Literal["pass", "improved", "regressed", "inconclusive", "incomparable", "error"]

MARGIN = 0.02
LEVEL = 0.90
"""Level of the interval: 5% on either side."""

_WORST: tuple[Outcome, ...] = ("regressed", "error", "incomparable", "inconclusive", "improved", "pass")
_EXIT: dict[Outcome, int] = {"pass": 0, "improved": 0, "inconclusive": 0, "regressed": 1, "incomparable": 3, "error": 4}
STRICT_INCONCLUSIVE = 5


@dataclass(frozen=True)
class Check:
    """One row compared with its baseline. Figures are fractions; None where nothing could be compared."""

    method: str
    verdict: Outcome
    reason: str
    difference: float | None = None
    """Head minus base."""
    ci90: tuple[float, float] | None = None
    p: float | None = None
    """Two-sided, and so compared with ``1 - LEVEL``; Holm-adjusted over the rows that can be decided."""
    base: float | None = None
    head: float | None = None
    n_contexts: int = 0
    n_queries: int = 0
    seeds: tuple[int, int] = (0, 0)
    lost: tuple[str, ...] = ()
    """Queries on which head scores lower."""
    won: tuple[str, ...] = ()
    """Queries on which head scores higher."""
    needed: stats.Needed | None = None
    why: str = ""
    """Why nothing can be decided although the rows can be compared: too few contexts or seeds; else ""."""
    confirmed_with: tuple[int, ...] = ()
    """Further seeds that a regression was tested again with."""


@dataclass(frozen=True)
class Gate:
    """All rows of a gate, and their overall verdict."""

    benchmark: str
    checks: tuple[Check, ...]
    margin: float
    notes: tuple[str, ...] = ()
    baseline: str = ""
    run: str = ""
    """Path of the run; this and ``baseline`` let an outcome be accepted later."""

    @property
    def verdict(self) -> Outcome:
        """The worst of the rows' verdicts; nothing checked is an error."""
        found = {check.verdict for check in self.checks}
        return next((verdict for verdict in _WORST if verdict in found), "error")

    def exit_code(self, *, strict: bool = False) -> int:
        """0 pass or improved, 1 regressed, 3 incomparable, 4 error, 5 inconclusive under ``strict`` (else 0)."""
        if strict and self.verdict == "inconclusive":
            return STRICT_INCONCLUSIVE
        return _EXIT[self.verdict]


def check_all(
    base: ResultFile, head: ResultFile, *, margin: float = MARGIN, accept_one_seed: bool = False
) -> list[Check]:
    """Every row of the baseline against the run's row of the same method, Holm-adjusted together."""
    if margin < 0:
        raise UsageError(f"--margin is a fraction of at least 0, not {margin}")
    if base.task.unit:
        raise UsageError(f"a gate compares shares with a margin, and table {base.headline!r} is in {base.task.unit}")
    rows = {row.method: row for row in head.rows}
    first = [
        _compare(base, row, head, rows.get(row.method), margin, accept_one_seed) for row in base.rows if row.scores
    ]
    tested = [place for place, check in enumerate(first) if check.p is not None and not check.why]
    adjusted = stats.holm([first[place].p or 0.0 for place in tested])
    for place, p in zip(tested, adjusted, strict=True):
        first[place] = _decide(replace(first[place], p=p), margin)
    return first


def _compare(
    base: ResultFile, base_row: Row, head: ResultFile, head_row: Row | None, margin: float, accept_one_seed: bool
) -> Check:
    method = base_row.method
    if head_row is None:
        return Check(method, "error", "the run has no such row; it failed or left this method out")
    fields = differing(base_row.conditions, head_row.conditions)
    if fields:
        said = "; ".join(describe((base, base_row), (head, head_row), fields))
        return Check(method, "incomparable", f"conditions differ ({said})")
    if not head_row.scores or head_row.scored == 0:
        return Check(method, "error", "nothing was measured")
    if not head_row.complete:
        return Check(
            method, "error", f"{head_row.expected - head_row.scored} of {head_row.expected} scores are missing"
        )
    if not base_row.complete:
        return Check(method, "incomparable", "the baseline itself is incomplete")
    paired = pair(Source("base", base, base_row), Source("head", head, head_row), base.task.average)
    if paired.left_out:
        return Check(method, "incomparable", f"{paired.left_out} queries have a score on one side only")
    found = stats.difference(paired.a, paired.b, level=LEVEL)
    why = too_little(paired, ("the baseline", "the run"), accept_one_seed)
    flips = list(zip(paired.queries, paired.values_a, paired.values_b, strict=True))
    return Check(
        method,
        "inconclusive",
        why,
        found.value,
        (found.interval.low, found.interval.high),
        found.p,
        paired.a.mean,
        paired.b.mean,
        paired.contexts,
        len(paired.queries),
        (len(base_row.seeds), len(head_row.seeds)),
        tuple(query for query, x, y in flips if y < x),
        tuple(query for query, x, y in flips if y > x),
        None if why else stats.needed(paired.a, paired.b, margin),
        why,
    )


def _decide(check: Check, margin: float) -> Check:
    """The verdict of a row that could be compared; ``needed`` is kept only where it is undecided."""
    low, high = check.ci90 or (0.0, 0.0)
    difference, sure = check.difference or 0.0, (check.p or 0.0) < 1 - LEVEL
    points = f"{100 * difference:+.1f} points"
    if sure and high < 0 and -difference >= margin:
        return replace(check, verdict="regressed", reason=f"{points}, beyond noise and the margin", needed=None)
    if sure and low > 0:
        return replace(check, verdict="improved", reason=f"{points}, beyond noise", needed=None)
    if low > -margin:
        return replace(check, verdict="pass", reason=f"{points}; a drop of {100 * margin:g} is excluded", needed=None)
    if not check.lost and not check.won:
        return replace(check, verdict="pass", reason="every score is equal", needed=None)
    return replace(check, verdict="inconclusive", reason=f"{points}; a drop of {100 * margin:g} is not excluded")


def notes(base: ResultFile, head: ResultFile) -> list[str]:
    """Notes on what may explain a difference apart from the method: other code that asks and grades."""
    rows = {row.method: row for row in head.rows}
    said = [one for row in base.rows if row.method in rows for one in code((base, row), (head, rows[row.method]))]
    return list(dict.fromkeys(said))


def exact(base: ResultFile, head: ResultFile) -> list[Check]:
    """The exact tier: every score and status of a deterministic run equals the golden run's, seed by seed."""
    rows = {row.method: row for row in head.rows}
    out = []
    for row in base.rows:
        mine = rows.get(row.method)
        if mine is None:
            out.append(Check(row.method, "error", "the run has no such row"))
        elif base.task.items != head.task.items or row.seeds != mine.seeds:
            out.append(Check(row.method, "incomparable", "other items or seeds than the golden run"))
        else:
            out.append(_exact(base, row, mine))
    return out


def _exact(base: ResultFile, row: Row, mine: Row) -> Check:
    queries = [query for _, asked in base.task.items for query in asked]
    changed = [
        f"seed {seed}, {query}: {before[0]}{before[1]} to {after[0]}{after[1]}"
        for seed, *columns in zip(row.seeds, row.scores, row.status, mine.scores, mine.status, strict=True)
        for query, before, after in zip(
            queries, zip(columns[0], columns[1], strict=True), zip(columns[2], columns[3], strict=True), strict=True
        )
        if before != after
    ]
    golden = Check(
        row.method,
        "pass",
        "every score equals the golden one",
        n_contexts=len(base.task.items),
        n_queries=len(queries),
        seeds=(len(row.seeds), len(mine.seeds)),
    )
    if not changed:
        return golden
    reason = f"{len(changed)} scores differ from the golden run"
    return replace(golden, verdict="regressed", reason=reason, lost=tuple(changed))


def pool(first: ResultFile, further: ResultFile) -> ResultFile:
    """A run and further seeds of it as one run. Raises ``UsageError`` where they are not of the same run."""
    rows = {row.method: row for row in further.rows}
    out = []
    for row in first.rows:
        more = rows.get(row.method)
        if more is None or first.task.items != further.task.items or differing(row.conditions, more.conditions):
            raise UsageError(f"the further seeds are not of the same run as {first.run!r}: row {row.method!r} differs")
        if set(row.seeds) & set(more.seeds):
            raise UsageError(f"the further seeds repeat seeds of {first.run!r}")
        out.append(_joined(row, more, first.task.queries))
    return first.with_rows(out)


def _joined(row: Row, more: Row, queries: int) -> Row:
    return make_row(
        scores=[*row.scores, *more.scores],
        status=[*row.status, *more.status],
        queries=queries,
        method=row.method,
        plugin=row.plugin,
        card=row.card,
        protocol=row.protocol,
        editor_model=row.editor_model,
        start_model=row.start_model,
        conditions=row.conditions,
        seeds=(*row.seeds, *more.seeds),
    )


def confirm(
    base: ResultFile,
    head: ResultFile,
    further: ResultFile,
    first: Sequence[Check],
    margin: float,
    accept_one_seed: bool = False,
) -> list[Check]:
    """Regressions of the first look, tested again with further seeds pooled in; both looks must reject.

    Failing only where both do keeps the false-alarm rate at or below the first look's, so no level is split.
    """
    pooled = check_all(base, pool(head, further), margin=margin, accept_one_seed=accept_one_seed)
    again = {check.method: check for check in pooled}
    seeds = tuple(seed for row in further.rows[:1] for seed in row.seeds)
    out = []
    for check in first:
        if check.verdict != "regressed":
            out.append(check)
            continue
        found = replace(again[check.method], confirmed_with=seeds)
        word = "confirmed by" if found.verdict == "regressed" else "not confirmed by"
        out.append(replace(found, reason=f"{found.reason}; {word} {len(seeds)} further seeds"))
    return out
