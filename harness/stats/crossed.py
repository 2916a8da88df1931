"""The crossed-effects model of scores: intervals of a row, and of the difference between two rows.

The score of a row is a weighted mean over contexts, averaged over seeds. Contexts and seeds are crossed: a cell of the
table ``[seed, context]`` is the sum of a mean, an effect of the seed, an effect of the context and a residual, all of
them random (Searle, Casella & McCulloch 1992, chapter 4). The variance of the mean is a sum of mean squares, and its
degrees of freedom are Satterthwaite's (1946, doi:10.2307/3002019), so intervals and p are Student's t. The sum has two
kinds of terms:

- the contexts' mean square, which includes the residual variance;
- for each row, the part of the seeds' mean square above the residual variance; nothing where it is below.

Rows over the same items share the contexts, so a difference is taken context by context. Rows with the same seeds share
these too, if the data show that they do: see :func:`shares_draws`. One seed tells nothing about others: then the
interval covers the choice of contexts alone. ``benchmarks/false_alarms.py`` measures the coverage of the intervals and
how often equal rows are told apart.

Inputs and differences are fractions in [0, 1], not points.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, inf, isnan, sqrt

import numpy as np

from harness.stats.bootstrap import LEVEL, Interval
from harness.stats.clustered import Array, Clustered
from harness.stats.proportions import score_interval
from harness.stats.student import critical, two_sided_p

MIN_CONTEXTS = 8
"""With fewer, the spread among contexts is itself a guess, and nothing is claimed about contexts that were not
asked."""
MIN_SEEDS = 2
"""The least number of seeds with distinct scores: a single draw tells nothing about the spread among seeds."""


@dataclass(frozen=True)
class Difference:
    """``b - a``, with its interval and the two-sided p of Student's t."""

    value: float
    interval: Interval
    p: float


@dataclass(frozen=True)
class MeanSquare:
    """A term of a variance and its degrees of freedom; the value is negative where the model subtracts the term."""

    value: float
    freedom: float


@dataclass(frozen=True)
class Effects:
    """The effects in a table ``[seed, context]``."""

    mean: float
    contexts: Array
    """Deviations ``[context]`` of the contexts' means over seeds from the mean."""
    draws: int
    """The number of seeds with distinct scores."""
    share: float
    """The variance of the mean over seeds, as a multiple of one seed's: 1 / draws where no two seeds are equal."""
    seed: float
    """Variance among the seeds' means, which includes the residual variance; NaN with fewer than two draws."""
    cell: float
    """Residual mean square: of the cells about their seed's and context's effects; NaN where it cannot be estimated."""
    fixed: bool = False

    @property
    def chance(self) -> float:
        """The variance of a seed's mean that the residuals in its cells explain."""
        return 0.0 if isnan(self.cell) else self.cell / len(self.contexts)

    @property
    def of_seeds(self) -> list[MeanSquare]:
        """What the choice of seeds adds to the variance of the mean, beyond the part in the contexts' mean square."""
        if self.fixed or isnan(self.seed) or self.seed <= self.chance:
            return []
        freedom = self.draws - 1
        parts = [MeanSquare(self.share * self.seed, freedom)]
        if self.chance:
            parts.append(MeanSquare(-self.share * self.chance, freedom * (len(self.contexts) - 1)))
        return parts


def effects(table: Clustered) -> Effects:
    """The effects in the table of one row."""
    return _effects(table.influence(), table.same, table.fixed)


def _effects(cells: Array, same: Sequence[int], fixed: bool) -> Effects:
    first, times = np.unique(np.asarray(same), return_counts=True)
    weights = times / times.sum()
    distinct = cells[first]
    mean = float(weights @ distinct.mean(axis=1))
    contexts = weights @ distinct - mean
    draws, count = distinct.shape
    seed = cell = float("nan")
    if draws > 1:
        means = distinct.mean(axis=1)
        seed = float(means.var(ddof=1))
        if count > 1:
            rest = distinct - means[:, None] - distinct.mean(axis=0) + means.mean()
            cell = float((rest**2).sum()) / ((draws - 1) * (count - 1))
    return Effects(mean, contexts, draws, float(weights @ weights), seed, cell, fixed)


def shares_draws(a: Clustered, b: Clustered) -> bool:
    """Whether equal seeds affected two tables alike, so that differences should be taken seed by seed.

    A seed names a stream of random draws; two runs share the draws only as far as the same code makes the same draws
    from it. If they do, the residuals of their tables correlate: the criterion is a correlation of at least one half
    over all cells. If they do not, pairing seed 0 with seed 0 would only waste half of the degrees of freedom. The
    seeds' own means are no evidence: two or three of them often agree by chance.
    """
    if a.seeds != b.seeds or a.draws < MIN_SEEDS or b.draws < MIN_SEEDS:
        return False
    one, other = (_cells(table.influence()) for table in (a, b))
    size = sqrt(float((one**2).sum()) * float((other**2).sum()))
    return size > 0 and float((one * other).sum()) >= size / 2


def _cells(table: Array) -> Array:
    rest: Array = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    return rest


def _between(a: Clustered, b: Clustered) -> list[Effects]:
    """The independent effects that add up to ``b - a``: one table's where draws are shared, else two tables'."""
    one, other = a.influence(), b.influence()
    if shares_draws(a, b):
        gap = other - one
        return [_effects(gap, Clustered(gap, np.ones_like(gap), a.seeds).same, False)]
    return [_effects(other, b.same, b.fixed), _effects(-one, a.same, a.fixed)]


def spread_of_contexts(deviations: Array, mean: float) -> float:
    """Variance of a context's effect, and at least the variance with one more context whose effect is 0.

    Contexts that all agree do not show that the next one will: without this bound, eight differences of +1 would have
    no spread, and p would be 0.
    """
    count = len(deviations)
    return max(float(deviations.var(ddof=1)), mean**2 / (count + 1))


def satterthwaite(parts: Iterable[MeanSquare]) -> tuple[float, float]:
    """The sum of mean squares, and its Satterthwaite degrees of freedom, at least 1."""
    kept = list(parts)
    total = sum(part.value for part in kept)
    squares = sum(part.value**2 / part.freedom for part in kept)
    return total, max(1.0, total**2 / squares) if squares > 0 else 1.0


def mean_interval(table: Clustered, *, level: float = LEVEL, bounded: bool = True) -> Interval | None:
    """The interval of one row's score. With a single context it is all of [0, 1], or None for unbounded scores.

    It is Wilson's score interval of a proportion with Student's t, at the effective sample size, the one with the row's
    standard error (Korn & Graubard 1998), so it stays in [0, 1] and contains the score. Where all contexts agree, the
    number of contexts is that size, so a row of zeros has an upper bound above 0. Scores that are not ``bounded`` by 0
    and 1 get the plain interval of Student's t.
    """
    found = effects(table)
    count = len(found.contexts)
    if count < 2 or isnan(found.mean):
        return Interval(0.0, 1.0) if bounded else None
    contexts = float(found.contexts.var(ddof=1)) / count
    variance, freedom = satterthwaite([MeanSquare(contexts, count - 1), *found.of_seeds])
    if not bounded:
        half = critical(level, freedom) * sqrt(max(0.0, variance))
        return Interval(table.mean - half, table.mean + half)
    mean = min(1.0, max(0.0, found.mean))
    if variance <= 1e-18 or not 0 < mean < 1:
        return score_interval(mean, count, critical(level, count - 1))
    return score_interval(mean, mean * (1 - mean) / variance, critical(level, freedom))


def difference(a: Clustered, b: Clustered, *, level: float = LEVEL, bounded: bool = True) -> Difference:
    """``b - a`` over the same contexts, with an interval of ``level``; with a single context it is all of [-1, 1].

    Where scores are not ``bounded`` by 0 and 1 the interval is not clipped, and with a single context it is infinite.

    Raises:
        ValueError: the tables are over different numbers of contexts.
    """
    if a.contexts != b.contexts:
        raise ValueError("tables over different numbers of contexts cannot be compared")
    value, count = b.mean - a.mean, a.contexts
    least, most = (-1.0, 1.0) if bounded else (-inf, inf)
    if count < 2:
        return Difference(value, Interval(least, most), 1.0)
    parts = _between(a, b)
    deviations = np.sum([part.contexts for part in parts], axis=0)
    contexts = MeanSquare(spread_of_contexts(deviations, value) / count, count - 1)
    variance, freedom = satterthwaite([contexts, *(one for part in parts for one in part.of_seeds)])
    if variance <= 1e-18:
        # No context shows a difference; as for a row of zeros, others may, up to the bound of the score interval.
        half = score_interval(0.0, count, critical(level, count - 1)).high if bounded else 0.0
        return Difference(value, Interval(-half, half), 1.0)
    half = critical(level, freedom) * sqrt(variance)
    p = float(two_sided_p(value / sqrt(variance), freedom))
    return Difference(value, Interval(max(least, value - half), min(most, value + half)), p)


# --- the sample size that would decide it ----------------------------------------------------------------------------

_Z = 1.959964 + 0.841621
"""Normal quantiles for a two-sided test at 5% with a power of 80%."""


@dataclass(frozen=True)
class Needed:
    """How many contexts (with the present seeds) or seeds (with the present contexts) show an effect with 80% power.

    None where no number is enough along that axis alone, because the noise along the other is already too large.
    """

    effect: float
    contexts: int | None
    seeds: int | None


def needed(a: Clustered, b: Clustered, effect: float) -> Needed:
    """The sample sizes that tell a true difference of ``effect`` from 0, given the variance observed between a and
    b."""
    effect = abs(effect)
    if effect == 0:
        return Needed(0.0, None, None)
    parts = _between(a, b)
    contexts, draws = a.contexts, min(part.draws for part in parts)
    deviations = np.sum([part.contexts for part in parts], axis=0)
    per_context = float(deviations.var(ddof=1)) if contexts > 1 else 0.0
    of_seeds = sum(one.value for part in parts for one in part.of_seeds)
    chance = sum(part.share * part.chance for part in parts)
    budget = (effect / _Z) ** 2
    left_for_contexts = budget - of_seeds
    left_for_seeds = budget - max(0.0, per_context / contexts - chance)
    more = draws > 1 and left_for_seeds > 0
    return Needed(
        effect,
        max(MIN_CONTEXTS, ceil(per_context / left_for_contexts)) if left_for_contexts > 0 else None,
        max(MIN_SEEDS, ceil((of_seeds + chance) * draws / left_for_seeds)) if more else None,
    )
