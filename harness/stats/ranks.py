"""Which of many rows are better than which, beyond noise, and the confidence set of each row's rank.

Every pair is tested, and with probability ``LEVEL`` no pair is told apart wrongly, whatever the true order. So, for all
rows at once, a row's rank lies between 1 + the number of better rows and the number of rows - the number of worse ones
(Mogstad, Romano, Shaikh & Wilhelm 2024, doi:10.1093/restud/rdad006). Hypotheses are rejected step by step (Romano &
Wolf 2005, doi:10.1198/016214504000000539): the cut-off is the 5% quantile of the smallest p among the pairs not yet
told apart, simulated with their dependence, and simulated again once some pairs are.

All rows are fitted in one crossed-effects model. Two or three seeds say little about a row's own variance between
seeds, and the smallest of many such estimates is far too small: with 30 equal rows of two seeds each, two boards in
three would separate some. So a row's variance between seeds is moderated by the variance common to the board's rows,
which has degrees of freedom of its own: many where the rows' variances are alike, :data:`PRIOR` where they differ or
are too few to show it (Smyth 2004, doi:10.2202/1544-6115.1027). Seeds of different rows count as independent draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from harness.stats.bootstrap import LEVEL
from harness.stats.clustered import Array, Clustered
from harness.stats.crossed import Effects, effects
from harness.stats.student import two_sided_p

Flags = NDArray[np.bool_]

PRIOR = 2
"""The least degrees of freedom of the common variance when it is pooled with a row's own."""
SIMULATED = 100
"""The most rows for which the cut-off is simulated. With more, which would take minutes, Bonferroni's bound is used; it
is a few per cent stricter."""
DRAWS = 4000


@dataclass(frozen=True)
class RankSet:
    """The ranks that a row may have, with 95% confidence for all rows of its board at once; 1 is the best."""

    low: int
    high: int


def rank_sets(better: Flags) -> list[RankSet]:
    """One set per row. ``better[i, j]``: row i is better than row j, as from :func:`better_beyond_noise`."""
    count = len(better)
    return [
        RankSet(1 + int(above), count - int(below))
        for above, below in zip(better.sum(axis=0), better.sum(axis=1), strict=True)
    ]


def better_beyond_noise(tables: Sequence[Clustered], level: float = LEVEL) -> Flags:
    """Flags ``[i, j]``: whether row i is better than row j beyond noise. All rows must be over the same contexts.

    Raises:
        ValueError: the tables are over different numbers of contexts, or over fewer than two.
    """
    count = len(tables)
    if count < 2:
        return np.zeros((count, count), dtype=np.bool_)
    if len({table.contexts for table in tables}) > 1 or tables[0].contexts < 2:
        raise ValueError("ranks need tables over the same contexts, at least two")
    model = _fit(tables)
    one, other = np.triu_indices(count, 1)
    p = _p_values(model, one, other, NormalDist().inv_cdf(0.5 + level / 2))
    apart = np.zeros(len(p), dtype=np.bool_)
    while not apart.all():
        new = ~apart & (p <= _cutoff(model, one[~apart], other[~apart], 1 - level))
        if not new.any():
            break
        apart |= new
    gap = model.means[one] - model.means[other]
    better = np.zeros((count, count), dtype=np.bool_)
    better[one, other] = apart & (gap > 0)
    better[other, one] = apart & (gap < 0)
    return better


@dataclass(frozen=True)
class _Model:
    """The board's model; the first axis of every array is the row."""

    means: Array
    contexts: Array
    """Deviations ``[row, context]``."""
    seeds: Array
    """What the choice of seeds adds to the variance of each row's mean."""
    squares: Array
    """The sum, over the terms of ``seeds``, of their square divided by their degrees of freedom (Satterthwaite)."""

    def variance(self, one: NDArray[np.intp], other: NDArray[np.intp]) -> tuple[Array, Array]:
        """The variance of each pair's difference, and its degrees of freedom (Satterthwaite)."""
        count = self.contexts.shape[1]
        products = self.contexts @ self.contexts.T / (count - 1)
        own = np.diagonal(products)
        gap = self.means[one] - self.means[other]
        between = np.maximum(own[one] + own[other] - 2 * products[one, other], gap**2 / (count + 1)) / count
        total = between + self.seeds[one] + self.seeds[other]
        squares = between**2 / (count - 1) + self.squares[one] + self.squares[other]
        freedom = np.divide(total**2, squares, out=np.ones_like(total), where=squares > 0)
        return total, np.maximum(1.0, freedom)


def _fit(tables: Sequence[Clustered]) -> _Model:
    found = [effects(table) for table in tables]
    drawn = [one for one in found if not one.fixed and one.draws > 1]
    freedom = sum(one.draws - 1 for one in drawn)
    common = sum((one.draws - 1) * (one.seed - one.chance) for one in drawn) / freedom if freedom else 0.0
    seeds, squares = np.zeros(len(found)), np.zeros(len(found))
    common = max(0.0, common)
    prior = _prior(drawn, common)
    for place, one in enumerate(found):
        if not one.fixed and one.draws > 1:
            seeds[place], squares[place] = _moderated(one, common, min(prior, freedom - one.draws + 1))
    means = np.array([table.mean for table in tables])
    return _Model(means, np.stack([one.contexts for one in found]), seeds, squares)


def _prior(drawn: Sequence[Effects], common: float) -> float:
    """Degrees of freedom of the common variance, from how much the rows' own variances differ.

    The logarithm of a variance estimated with d degrees of freedom has the variance trigamma(d / 2), and trigamma(prior
    / 2) more where the true variances differ. That excess is taken one standard error above its estimate, so with few
    rows the prior is small.
    """
    known = [one for one in drawn if common + one.chance > 0]
    if len(known) < 3:
        return PRIOR
    logs = np.log([max(1e-3, one.seed / (common + one.chance)) for one in known])
    seen, chance = float(logs.var(ddof=1)), float(np.mean([_trigamma(one.draws - 1) for one in known]))
    excess = max(0.0, seen - chance) + max(seen, chance) * sqrt(6 / len(known))
    # trigamma(x) is about 1/x + 1/(2 x**2), solved for x.
    return max(PRIOR, (1 + sqrt(1 + 2 * excess)) / excess)


def _trigamma(freedom: int) -> float:
    """trigamma(freedom / 2), by recurrence from its values at 1/2 and 1."""
    at, value = (0.5, pi**2 / 2) if freedom % 2 else (1.0, pi**2 / 6)
    while at < freedom / 2:
        value -= 1 / at**2
        at += 1
    return value


def _moderated(one: Effects, common: float, prior: float) -> tuple[float, float]:
    """What the seeds add to a row's variance, moderated by ``common``, and its square over its degrees of freedom."""
    own = one.draws - 1
    seed = (prior * (common + one.chance) + own * one.seed) / (prior + own)
    added = one.share * max(0.0, seed - one.chance)
    if not added:
        return 0.0, 0.0
    taken = (one.share * one.chance) ** 2 / (own * (len(one.contexts) - 1))
    return added, (one.share * seed) ** 2 / (prior + own) + taken


def _p_values(model: _Model, one: NDArray[np.intp], other: NDArray[np.intp], least: float) -> Array:
    """The p of each pair whose t is at least ``least``; 1 for the others, which cannot be told apart anyway: computing
    the tail is slow for millions of pairs."""
    variance, freedom = model.variance(one, other)
    gap = np.abs(model.means[one] - model.means[other])
    t = np.divide(gap, np.sqrt(variance), out=np.zeros_like(gap), where=variance > 1e-18)
    p = np.ones_like(t)
    far = t >= least
    p[far] = two_sided_p(t[far], freedom[far])
    return p


def _cutoff(model: _Model, one: NDArray[np.intp], other: NDArray[np.intp], alpha: float) -> float:
    """The p up to which pairs are told apart, such that with probability 1 - ``alpha`` no pair of equal rows is."""
    if len(model.means) > SIMULATED:
        return alpha / len(one)
    variance, _ = model.variance(one, other)
    rng = np.random.default_rng(0)
    count = model.contexts.shape[1]
    rows = rng.standard_normal((DRAWS, count)) @ model.contexts.T / sqrt(count * (count - 1))
    rows += rng.standard_normal(rows.shape) * np.sqrt(model.seeds)
    scale = np.divide(1.0, np.sqrt(variance), out=np.zeros_like(variance), where=variance > 1e-18)
    largest = np.zeros(DRAWS)
    for first in range(0, len(one), 256):
        block = slice(first, first + 256)
        gaps = np.abs(rows[:, one[block]] - rows[:, other[block]]) * scale[block]
        np.maximum(largest, gaps.max(axis=1), out=largest)
    normal = NormalDist()
    return max(2 * normal.cdf(-float(np.quantile(largest, 1 - alpha))), alpha / len(one))
