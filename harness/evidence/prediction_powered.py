"""A row's score under a strong judge, from few strong verdicts and many weak ones (prediction-powered inference).

Angelopoulos, Bates, Fannjiang, Jordan and Zrnic (2023, arXiv 2301.09633) estimate a mean of costly labels y from a few
labelled items and a model's predictions f of all: the predictions' mean over the unlabelled items, plus the mean error
of the predictions over the labelled ones. The estimate is unbiased however poor the predictions are. Their weight is
chosen as in the second paper (Angelopoulos, Duchi and Zrnic 2023, arXiv 2311.01453), so that the interval is no wider
than that of the labels alone, apart from the sampling error of the weight.

Here the items are contexts, f the mean score of a context's queries under the weak judge, y under the strong one. The
labelled contexts must be a random sample of all: an estimate from the first ones, or from the easy ones, holds for
those alone. Differences of two rows are taken context by context. Fractions throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from harness import stats
from harness.errors import RunError
from harness.evidence.result import Average
from harness.evidence.sources import Source
from harness.stats import student

Array = NDArray[np.float64]

MIN_LABELLED = 8
"""Least number of contexts with strong verdicts; with fewer, their variance is hardly known."""


@dataclass(frozen=True)
class Estimate:
    """The mean under the strong judge, estimated three ways; intervals are 95%, over the choice of contexts."""

    value: float
    interval: stats.Interval
    trust: float
    """Weight of the weak judge's grades, from 0 (they are ignored) to 1."""
    weak: float
    """The weak judge's own figure over all contexts."""
    labels: float
    """The strong judge's figure over the labelled contexts alone."""
    labels_interval: stats.Interval
    labelled: int
    contexts: int


def estimate(weak: Array, strong: Array, weights: Array | None = None) -> Estimate:
    """The weighted mean of ``strong`` over all contexts.

    Args:
        weak: the weak judge's mean of each context.
        strong: the strong judge's, of the same contexts; NaN where it was not asked.
        weights: of the contexts; equal by default.

    Raises:
        RunError: fewer than eight contexts have a strong verdict.
    """
    share = np.ones(len(weak)) if weights is None else weights
    known = ~np.isnan(strong)
    n, rest = int(known.sum()), int((~known).sum())
    if n < MIN_LABELLED:
        raise RunError(
            f"{n} contexts have strong verdicts; at least {MIN_LABELLED} are needed to correct a judge by them"
        )
    trust = _trust(weak[known], strong[known], share[known], weak, share, n, rest)
    corrected, of_labels = _mean(strong[known] - trust * weak[known], share[known])
    predicted, of_rest = _mean(trust * weak[~known], share[~known]) if rest else (0.0, 0.0)
    alone, of_alone = _mean(strong[known], share[known])
    t = student.critical(stats.LEVEL, n - 1)
    value = corrected + predicted
    return Estimate(
        value,
        _around(value, t * sqrt(of_labels + of_rest)),
        trust,
        float((weak * share).sum() / share.sum()),
        alone,
        _around(alone, t * sqrt(of_alone)),
        n,
        len(weak),
    )


def _trust(f: Array, y: Array, share: Array, all_f: Array, all_share: Array, n: int, rest: int) -> float:
    """The weight of the predictions, in [0, 1], that minimises the estimate's variance."""
    if not rest:
        return 0.0
    one, other = _influence(f, share), _influence(y, share)
    spread = float(_influence(all_f, all_share).var(ddof=1))
    if spread == 0:
        return 0.0
    together = float((one * other).sum() / (n - 1))
    return float(np.clip(together / ((1 + n / rest) * spread), 0, 1))


def _influence(values: Array, share: Array) -> Array:
    """Each context's part in the weighted mean's error; its plain mean is 0."""
    mean = (values * share).sum() / share.sum()
    parts: Array = share / share.mean() * (values - mean)
    return parts


def _mean(values: Array, share: Array) -> tuple[float, float]:
    """A weighted mean, and its variance from the choice of contexts."""
    parts = _influence(values, share)
    variance = float(parts.var(ddof=1)) / len(parts) if len(parts) > 1 else 0.0
    return float((values * share).sum() / share.sum()), variance


def _around(value: float, half: float) -> stats.Interval:
    return stats.Interval(value - half, value + half)


# --- rows --------------------------------------------------------------------------------------------------------


def of_rows(
    pairs: Sequence[tuple[Source, Source]], average: Average | None = None, labelled: int = 0, seed: int = 0
) -> Estimate:
    """The score of one row, or the difference ``second - first`` of two, under the strong judge.

    Args:
        pairs: one or two rows, each as graded by the weak and by the strong judge; the strong one may lack queries.
        labelled: use the strong verdicts of only this many contexts, drawn with ``seed``; 0 uses all.

    Raises:
        RunError: the rows differ in items or seeds, or fewer than eight contexts have strong verdicts.
    """
    for weak, strong in pairs:
        _same_answers(weak, strong)
    task = pairs[0][0].found.task
    contexts = [context for context, _ in task.items]
    tables = [(by_context(weak), by_context(strong)) for weak, strong in pairs]
    both = [c for c in contexts if all(c in weak for weak, _ in tables)]
    asked = [c for c in both if all(c in strong for _, strong in tables)]
    if labelled:
        drawn = np.random.default_rng(seed).permutation(len(asked))[:labelled]
        asked = [asked[place] for place in sorted(drawn)]
    kept = set(asked)
    signs = (1.0,) if len(pairs) == 1 else (-1.0, 1.0)
    grades = np.array([sum(s * one[c][0] for s, (one, _) in zip(signs, tables, strict=True)) for c in both])
    verdicts = np.array(
        [sum(s * one[c][0] for s, (_, one) in zip(signs, tables, strict=True)) if c in kept else np.nan for c in both]
    )
    micro = (average or task.average) == "micro"
    weights = np.array([float(tables[0][0][c][1]) if micro else 1.0 for c in both])
    return estimate(grades, verdicts, weights)


def _same_answers(weak: Source, strong: Source) -> None:
    apart = [
        name
        for name in sorted({*weak.row.conditions, *strong.row.conditions} - {"metric", "evaluator", "items"})
        if weak.row.conditions.get(name) != strong.row.conditions.get(name)
    ]
    if apart:
        raise RunError(f"{weak.label} and {strong.label} are not one row under two judges: {', '.join(apart)} differ")
    if weak.row.seeds != strong.row.seeds:
        raise RunError(f"{weak.label} and {strong.label} are not one row under two judges: their seeds differ")


def by_context(source: Source) -> dict[str, tuple[float, int]]:
    """Context -> mean score over its queries and seeds, and its number of queries; only contexts with every value."""
    out: dict[str, tuple[float, int]] = {}
    at = 0
    for context, queries in source.found.task.items:
        values = [row[at + place] for row in source.row.scores for place in range(len(queries))]
        known = [value for value in values if value is not None]
        if values and len(known) == len(values):
            out[context] = (sum(known) / len(known), len(queries))
        at += len(queries)
    return out


def describe(found: Estimate, difference: bool) -> list[str]:
    """The estimate as lines of text, in points."""
    sign = "+" if difference else ""

    def shown(value: float, interval: stats.Interval | None = None) -> str:
        text = f"{100 * value:{sign}.1f}"
        return text if interval is None else f"{text} [{100 * interval.low:{sign}.1f}, {100 * interval.high:{sign}.1f}]"

    return [
        f"corrected  {shown(found.value, found.interval)}  (weight of the weak judge {found.trust:.2f})",
        f"weak judge alone  {shown(found.weak)}  over {found.contexts} contexts",
        f"strong judge alone  {shown(found.labels, found.labels_interval)}  over {found.labelled} contexts",
    ]
