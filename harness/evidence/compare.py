"""Two rows on the same items: the difference, its interval, a verdict, and the queries that flipped.

Differences are ``b - a``. Rows are paired by query, with contexts and seeds as crossed random effects. Rows whose
conditions differ are refused, because their difference is not that of the methods alone. Where contexts or seeds are
too few to generalise from there is no verdict, and the comparison says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Any, Literal

from harness import stats
from harness.errors import RunError
from harness.evidence import conditions, judge_error
from harness.evidence.learnt import learnt
from harness.evidence.result import Average, Row
from harness.evidence.sources import Source

Verdict = Literal["better", "worse", "inconclusive", "incomparable"]


@dataclass(frozen=True)
class Paired:
    """Both rows over the queries that have a value in each of them."""

    a: stats.Clustered
    b: stats.Clustered
    contexts: int
    queries: tuple[str, ...]
    values_a: tuple[float, ...]
    """Mean over seeds, per query."""
    values_b: tuple[float, ...]
    left_out: int
    """Queries of either row that have no value in one of the two."""


@dataclass(frozen=True)
class Comparison:
    """``b`` against ``a``. Figures are fractions, and None where the rows cannot be compared."""

    a: str
    b: str
    verdict: Verdict
    difference: float | None = None
    ci95: tuple[float, float] | None = None
    why: str = ""
    """Why there is no verdict although the rows can be compared: too few contexts or seeds; else ""."""
    p: float | None = None
    """Two-sided, from Student's t; Holm-adjusted where several comparisons are made at once."""
    p_unadjusted: float | None = None
    mcnemar_p: float | None = None
    """Exact, for one seed of right-or-wrong scores; blind to clustering, so it decides nothing here."""
    score_a: float | None = None
    score_b: float | None = None
    average: str = "macro"
    n_contexts: int = 0
    n_queries: int = 0
    left_out: int = 0
    seeds: tuple[int, int] = (0, 0)
    won: tuple[str, ...] = ()
    """Queries on which b scores higher."""
    lost: tuple[str, ...] = ()
    """Queries on which b scores lower."""
    needed: stats.Needed | None = None
    """Where undecided: the contexts or seeds that would show a difference as large as the one seen."""
    differing: tuple[str, ...] = ()
    """Conditions in which the rows differ."""
    forced: bool = False
    """Whether they were compared all the same."""
    notes: tuple[str, ...] = ()
    unit: str = ""
    """"" for shares; else what the figures are in."""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "direction": "b - a"}


class NothingMeasured(RunError):
    """No query has a value on both sides."""


def compare(
    a: Source,
    b: Source,
    *,
    force: bool = False,
    average: Average | None = None,
    accept_one_seed: bool = False,
) -> Comparison:
    """``b`` against ``a``.

    Args:
        force: compare although the conditions differ.
        average: None for the task's own.
        accept_one_seed: give a verdict on one seed too, which holds for that seed alone.

    Raises:
        NothingMeasured: no query has a value in both rows.
    """
    fields = tuple(conditions.differing(a.row.conditions, b.row.conditions))
    if fields and not force:
        return Comparison(a.label, b.label, "incomparable", differing=fields, notes=tuple(_differences(a, b, fields)))
    chosen = average or a.found.task.average
    paired = pair(a, b, chosen)
    noise = stats.difference(paired.a, paired.b, bounded=not a.found.task.unit)
    found = judge_error.of_difference(noise, a.row, b.row)
    why = too_little(paired, ("A", "B"), accept_one_seed)
    verdict: Verdict = (
        "inconclusive" if why else _verdict(found.interval, found.p, lower_is_better=a.found.task.lower_is_better)
    )
    open_to_more = verdict == "inconclusive" and not why and not judge_error.limit(a.row, b.row)
    single = len(a.row.seeds) == len(b.row.seeds) == 1
    return Comparison(
        a.label,
        b.label,
        verdict,
        found.value,
        (found.interval.low, found.interval.high) if isfinite(found.interval.low) else None,
        why,
        found.p,
        found.p,
        stats.mcnemar(paired.values_a, paired.values_b) if single else None,
        paired.a.mean,
        paired.b.mean,
        chosen,
        paired.contexts,
        len(paired.queries),
        paired.left_out,
        (len(a.row.seeds), len(b.row.seeds)),
        tuple(q for q, x, y in zip(paired.queries, paired.values_a, paired.values_b, strict=True) if y > x),
        tuple(q for q, x, y in zip(paired.queries, paired.values_a, paired.values_b, strict=True) if y < x),
        stats.needed(paired.a, paired.b, found.value) if open_to_more else None,
        fields,
        bool(fields),
        tuple(_notes(a, b, paired, fields)),
        a.found.task.unit,
    )


def too_little(paired: Paired, names: tuple[str, str], accept_one_seed: bool) -> str:
    """Why nothing can be concluded about other contexts or seeds; "" where there are enough of both."""
    if paired.contexts < stats.MIN_CONTEXTS:
        count = f"{paired.contexts} context{'' if paired.contexts == 1 else 's'}"
        return f"{count}: fewer than {stats.MIN_CONTEXTS} do not speak for others"
    alone = [
        f"one seed in {name}"
        if len(table.seeds) == 1
        else f"{len(table.seeds)} seeds with identical scores in {name}, which count as one"
        for name, table in zip(names, (paired.a, paired.b), strict=True)
        if table.one_draw
    ]
    if not alone or accept_one_seed:
        return ""
    return f"{' and '.join(alone)}: another seed may come out differently (--accept-one-seed decides for these alone)"


def _verdict(interval: stats.Interval, p: float, *, lower_is_better: bool) -> Verdict:
    if p >= 1 - stats.LEVEL or interval.low <= 0 <= interval.high:
        return "inconclusive"
    return "better" if (interval.high < 0) == lower_is_better else "worse"


def compare_all(base: Source, others: Sequence[Source], **options: Any) -> list[Comparison]:
    """Every other row against the first; p-values are adjusted together (Holm), and verdicts follow them."""
    found = [compare(base, other, **options) for other in others]
    decided = [one for one in found if one.p is not None and not one.why]
    adjusted = dict(zip(map(id, decided), stats.holm([one.p or 0.0 for one in decided]), strict=True))
    return [_adjust(one, adjusted[id(one)]) if id(one) in adjusted else one for one in found]


def _adjust(one: Comparison, p: float) -> Comparison:
    kept = one.verdict if p < 1 - stats.LEVEL else "inconclusive"
    return replace(one, p=p, verdict=kept)


def pair(a: Source, b: Source, average: Average) -> Paired:
    """The rows over their common queries, in a's order. Raises :class:`NothingMeasured` where there are none."""
    for source in (a, b):
        if not source.row.scores:
            raise NothingMeasured(f"{source.label}: a printed figure without scores per query: nothing to pair")
    place_b = {query: at for at, query in enumerate(_queries(b))}
    known_b = _known(b.row)
    known_a = _known(a.row)
    keep: list[tuple[int, int]] = []
    sizes: list[int] = []
    names: list[str] = []
    at = 0
    for _, queries in a.found.task.items:
        inside = 0
        for query in queries:
            other = place_b.get(query)
            if other is not None and known_a[at] and known_b[other]:
                keep.append((at, other))
                names.append(query)
                inside += 1
            at += 1
        if inside:
            sizes.append(inside)
    if not keep:
        shared = any(query in place_b for query in _queries(a))
        raise NothingMeasured(
            f"{a.label} and {b.label}: "
            + ("no query has a score in both" if shared else "no query in common; they were asked different things")
        )
    table_a = [[values[i] for i, _ in keep] for values in a.row.scores]
    table_b = [[values[j] for _, j in keep] for values in b.row.scores]
    return Paired(
        stats.cluster(table_a, sizes, a.row.seeds, average, learnt=learnt(a.row)),
        stats.cluster(table_b, sizes, b.row.seeds, average, learnt=learnt(b.row)),
        len(sizes),
        tuple(names),
        _over_seeds(table_a),
        _over_seeds(table_b),
        len({*_queries(a), *_queries(b)}) - len(keep),
    )


def _queries(source: Source) -> list[str]:
    return [query for _, queries in source.found.task.items for query in queries]


def _known(row: Row) -> list[bool]:
    """Per query: whether every seed has a value; a query that lacks one would unbalance the pairs."""
    return [all(value is not None for value in values) for values in zip(*row.scores, strict=True)]


def _over_seeds(table: Sequence[Sequence[float | None]]) -> tuple[float, ...]:
    return tuple(sum(value or 0.0 for value in values) / len(values) for values in zip(*table, strict=True))


def _differences(a: Source, b: Source, fields: Sequence[str]) -> list[str]:
    return conditions.describe((a.found, a.row), (b.found, b.row), fields)


def _notes(a: Source, b: Source, paired: Paired, fields: Sequence[str]) -> list[str]:
    notes = _differences(a, b, fields)
    if fields:
        notes.append("forced: this is not a difference of the methods alone")
    if paired.a.one_draw or paired.b.one_draw:
        notes.append("one seed on a side: the interval covers the choice of contexts only, not run-to-run noise")
    notes += conditions.code((a.found, a.row), (b.found, b.row))
    notes += filter(None, [conditions.unrecorded(a.row, b.row)])
    notes += judge_error.notes(a.row, b.row)
    if paired.left_out:
        notes.append(f"{paired.left_out} queries left out: no score on one side")
    return notes
