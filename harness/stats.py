"""Statistics of scores that are clustered by context and repeated over seeds.

One estimator serves the whole package. The score of a row is a weighted mean over contexts, averaged over seeds.
Contexts and seeds are crossed, so a table splits into a mean, an effect of each seed, one of each context and what is
left in the cells. Its uncertainty is a bootstrap on two levels:

- Contexts are resampled. Their effects are first shrunk by what the cells put into them, for the effects of seeds hold
  the same chance already; resampling both as they are counts it three times (the "pigeonhole" bootstrap, Owen 2007,
  doi:10.1214/07-AOAS122), which makes intervals up to sqrt(3) times as wide as they should be.
- Seeds are too few to resample (three have ten distinct resamples): their mean is drawn from Student's t with the
  variance seen among them, at least that of the cells (Welch's degrees of freedom for two rows).

The variance of the draws is thus the one of a crossed layout with random effects (Searle, Casella & McCulloch 1992,
chapter 4). ``benchmarks/gate.py`` measures what the intervals cover. Rows of the same items share the resampled
contexts. Rows of the same seeds share the seeds where it shows that they do: see :func:`shares_draws`. One seed shows
nothing of what another would do: its interval covers the choice of contexts alone.

Inputs and differences are fractions in [0, 1], not points.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb, sqrt
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DRAWS = 10_000
SEED = 0
LEVEL = 0.95
_CHUNK = 2_000_000
"""Entries of one block of resampled context indices: bounds memory, has no effect on the result's distribution."""


@dataclass(frozen=True)
class Interval:
    """A percentile interval, as fractions."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """``b - a``, with its interval and two-sided bootstrap p."""

    value: float
    interval: Interval
    p: float


@dataclass(frozen=True)
class Clustered:
    """Scores as ``[seed, context]``: the mean over a context's scored queries, and the weight of that mean.

    Weights are 1 for a macro average and the number of scored queries for a micro average; 0 where nothing was scored.
    """

    values: Array
    weights: Array
    seeds: tuple[int, ...]

    @property
    def mean(self) -> float:
        """The score: each seed's weighted mean over contexts, averaged over seeds. NaN where nothing was scored."""
        total = self.weights.sum(axis=1)
        if not total.all():
            return float("nan")
        return float(((self.values * self.weights).sum(axis=1) / total).mean())


def cluster(
    scores: Sequence[Sequence[float | None]],
    sizes: Sequence[int],
    seeds: Sequence[int],
    average: Literal["macro", "micro"] = "macro",
) -> Clustered:
    """Scores per seed and query, in context order, with ``sizes[c]`` queries in context c.

    A seed of which nothing was scored (its run broke) has no score, and is left out beside others that have.
    """
    if measured := [place for place, one in enumerate(scores) if any(value is not None for value in one)]:
        scores, seeds = [scores[place] for place in measured], [seeds[place] for place in measured]
    table = np.array([[np.nan if value is None else value for value in one] for one in scores], dtype=np.float64)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    known = ~np.isnan(table)
    counts = np.stack([np.bincount(owner, weights=row, minlength=len(sizes)) for row in known.astype(float)])
    sums = np.stack([np.bincount(owner, weights=row, minlength=len(sizes)) for row in np.nan_to_num(table)])
    values = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    weights = (counts if average == "micro" else counts > 0).astype(np.float64)
    return Clustered(values, weights, tuple(seeds))


@dataclass(frozen=True)
class _Effects:
    """What a ``[seed, context]`` table consists of; all but the mean are deviations from it."""

    mean: float
    seeds: Array
    contexts: Array
    cell: float
    """Variance of a cell about the effects of its seed and its context; 0 with one seed, where it cannot be told."""

    @property
    def seed_variance(self) -> tuple[float, int]:
        """Variance of the mean from the choice of seeds, which holds the cells' chance, and its degrees of freedom.

        Seeds that came out closer together than the cells alone would scatter them say nothing: then the cells' share,
        known from far more numbers, is the variance.
        """
        count, contexts = len(self.seeds), len(self.contexts)
        if count < 2:
            return 0.0, 1
        seen, least = float(self.seeds.var(ddof=1)) / count, self.cell_variance / contexts
        return (seen, count - 1) if seen >= least else (least, (count - 1) * (contexts - 1))

    @property
    def cell_variance(self) -> float:
        """Variance of a context's effect from the chance in its cells."""
        return self.cell / len(self.seeds)


def _effects(table: Array) -> _Effects:
    mean = float(table.mean())
    seeds, contexts = table.mean(axis=1) - mean, table.mean(axis=0) - mean
    rest = table - mean - seeds[:, None] - contexts
    freedom = (len(seeds) - 1) * (len(contexts) - 1)
    return _Effects(mean, seeds, contexts, float((rest**2).sum()) / freedom if freedom else 0.0)


def _between(a: Clustered, b: Clustered) -> list[_Effects]:
    """The independent parts whose effects add up to ``b - a``: one where seeds are shared, else two."""
    one, other = _influence(a), _influence(b)
    return [_effects(other - one)] if shares_draws(a, b) else [_effects(other), _effects(-one)]


def shares_draws(a: Clustered, b: Clustered) -> bool:
    """Whether the same seeds moved two tables alike, so that differences are taken seed by seed.

    A seed names a stream of draws; two runs share it only as far as the same code asks the same things of it. Where
    they do, what a seed does to each context agrees (a correlation of at least one half over all cells); where they do
    not, taking seed 0 from seed 0 would only waste half of the degrees of freedom.
    """
    if a.seeds != b.seeds or len(a.seeds) < 2:
        return False
    one, other = (_influence(table) for table in (a, b))
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    size = sqrt(float((one**2).sum()) * float((other**2).sum()))
    return size > 0 and float((one * other).sum()) >= size / 2


def _draws(parts: Sequence[_Effects], draws: int, seed: int) -> Array:
    """Draws of the sum of independent parts over the same contexts."""
    contexts = np.sum([part.contexts for part in parts], axis=0)
    count = len(contexts)
    spread = float(contexts.var(ddof=1)) if count > 1 else 0.0
    chance = sum(part.cell_variance for part in parts)
    if spread > 0:
        contexts = contexts * sqrt(max(0.0, 1 - chance / spread))
    out = np.full(draws, sum(part.mean for part in parts))
    for block, times in _resampled(count, draws, seed):
        out[block] += times @ contexts / count
    variances = [part.seed_variance for part in parts]
    if total := sum(variance for variance, _ in variances):
        freedom = total**2 / sum(variance**2 / own for variance, own in variances)
        out += sqrt(total) * np.random.default_rng([seed, 1]).standard_t(freedom, size=draws)
    return out


def _resampled(contexts: int, draws: int, seed: int) -> Iterator[tuple[slice, Array]]:
    """How often each context is drawn, ``[draw, context]``, in blocks that bound memory."""
    if draws * contexts <= _CHUNK:
        yield slice(0, draws), _small(contexts, draws, seed)
        return
    rng = np.random.default_rng([seed, 0])
    step = max(1, _CHUNK // contexts)
    for start in range(0, draws, step):
        block = slice(start, min(start + step, draws))
        yield block, _counts(rng, block.stop - block.start, contexts)


@lru_cache(maxsize=4)
def _small(contexts: int, draws: int, seed: int) -> Array:
    """The draws depend on nothing but their number, so a table of many rows makes them once."""
    return _counts(np.random.default_rng([seed, 0]), draws, contexts)


def _counts(rng: np.random.Generator, draws: int, contexts: int) -> Array:
    picks = rng.integers(contexts, size=(draws, contexts)) + np.arange(draws)[:, None] * contexts
    return np.bincount(picks.ravel(), minlength=draws * contexts).reshape(draws, contexts).astype(np.float64)


def interval(values: Array, level: float = LEVEL) -> Interval:
    """Percentile interval of bootstrap draws, leaving out draws without a value."""
    tail = 50 * (1 - level)
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return Interval(float(low), float(high))


def two_level(table: Clustered, *, draws: int = DRAWS, seed: int = SEED) -> Interval:
    """95% interval of one row's score; it may reach beyond [0, 1] by chance, and is cut there."""
    found = interval(_draws([_effects(_influence(table))], draws, seed))
    return Interval(max(0.0, found.low), min(1.0, found.high))


def difference(a: Clustered, b: Clustered, *, level: float = LEVEL, draws: int = DRAWS, seed: int = SEED) -> Difference:
    """``b - a`` over the same contexts, with an interval of ``level``.

    Raises:
        ValueError: the tables are over different numbers of contexts.
    """
    if a.values.shape[1] != b.values.shape[1]:
        raise ValueError("tables over different numbers of contexts cannot be compared")
    deltas = _draws(_between(a, b), draws, seed)
    below, above = int((deltas <= 0).sum()), int((deltas >= 0).sum())
    p = min(1.0, 2 * (min(below, above) + 1) / (len(deltas) + 1))
    return Difference(b.mean - a.mean, interval(deltas, level), p)


def wilson(successes: int, trials: int, level: float = LEVEL) -> Interval:
    """The score interval of a proportion (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    For counts of independent trials, as papers report them; where trials share contexts or a trained policy it is
    too narrow, and :func:`two_level` is the honest one.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes in {trials} trials")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    middle = (successes + z * z / 2) / (trials + z * z)
    half = z / (trials + z * z) * sqrt(successes * (trials - successes) / trials + z * z / 4)
    return Interval(middle - half if successes else 0.0, middle + half if successes < trials else 1.0)


def mcnemar(a: Sequence[float | None], b: Sequence[float | None]) -> float | None:
    """Exact two-sided McNemar p of two binary score lists over the same queries (McNemar 1947; binomial form).

    None where a score is neither 0 nor 1. Queries without a value on either side are left out.
    """
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if any(x not in (0, 1) or y not in (0, 1) for x, y in pairs):
        return None
    lost = sum(x > y for x, y in pairs)
    won = sum(x < y for x, y in pairs)
    flips = lost + won
    tail = sum(comb(flips, k) for k in range(min(lost, won) + 1))
    return float(min(1.0, 2 * tail / 2**flips))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: (p_values[index], index))
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


# --- how much more would decide it -----------------------------------------------------------------------------------

_Z = 1.959964 + 0.841621
"""Two-sided 5%, power 80%."""


@dataclass(frozen=True)
class Needed:
    """How many contexts (at today's seeds) or seeds (at today's contexts) would show an effect with 80% power.

    None where no number is enough along that axis alone, because the other axis' noise is already too large.
    """

    effect: float
    contexts: int | None
    seeds: int | None


def needed(a: Clustered, b: Clustered, effect: float) -> Needed:
    """What it would take to tell a true difference of ``effect`` from none, from the variance seen between a and b."""
    effect = abs(effect)
    if effect == 0:
        return Needed(0.0, None, None)
    parts = _between(a, b)
    contexts, seeds = a.values.shape[1], min(len(a.seeds), len(b.seeds))
    total = np.sum([part.contexts for part in parts], axis=0)
    per_context = float(total.var(ddof=1)) if contexts > 1 else 0.0
    of_seeds = sum(part.seed_variance[0] for part in parts)
    chance = sum(part.cell_variance for part in parts) / contexts
    budget = (effect / _Z) ** 2
    left_for_contexts = budget - max(0.0, of_seeds - chance)
    left_for_seeds = budget - max(0.0, per_context / contexts - chance)
    return Needed(
        effect,
        max(2, int(np.ceil(per_context / left_for_contexts))) if left_for_contexts > 0 else None,
        max(2, int(np.ceil(of_seeds * seeds / left_for_seeds))) if left_for_seeds > 0 and seeds > 1 else None,
    )


def _influence(table: Clustered) -> Array:
    """``[seed, context]`` contributions to each seed's mean, whose plain average over contexts is that mean."""
    total = table.weights.sum(axis=1, keepdims=True)
    mean = (table.values * table.weights).sum(axis=1, keepdims=True) / total
    spread: Array = mean + table.weights / (total / table.weights.shape[1]) * (table.values - mean)
    return spread


# --- how much of a reward is signal ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reliability:
    """Share of between-candidate variance that is not noise; may come out negative, then noise explains all of it."""

    value: float
    interval: Interval
    between: float
    """Pooled variance of candidate means within a context."""
    within: float
    """Pooled variance of a candidate's repeated rewards."""
    contexts: int


def reliability(
    rewards: Sequence[Sequence[Sequence[float]]], *, draws: int = DRAWS, seed: int = SEED
) -> Reliability | None:
    """``rewards[context][candidate][repeat]`` -> (B - W/S) / B with an interval over resampled contexts.

    B is the variance (n-1) of the S-repeat means among a context's candidates and W the variance (n-1) of one
    candidate's repeats, both pooled over contexts by degrees of freedom. None where no context has two candidates with
    two repeats each, or all candidates have the same mean.
    """
    parts = np.array([part for context in rewards if (part := _reliability_parts(context)) is not None])
    if not len(parts):
        return None
    rng = np.random.default_rng([seed, 2])
    totals = parts.sum(axis=0)
    if totals[0] <= 0:
        return None
    times = rng.multinomial(len(parts), [1 / len(parts)] * len(parts), size=draws)
    drawn = times @ parts
    drawn = drawn[drawn[:, 0] > 0]
    return Reliability(
        float(_reliability(totals)),
        interval(_reliability(drawn)),
        float(totals[0] / totals[1]),
        float(totals[3] / totals[4]),
        len(parts),
    )


def _reliability(sums: Array) -> Any:
    between = sums[..., 0] / sums[..., 1]
    noise = sums[..., 2] / sums[..., 1]
    return (between - noise) / between


def _reliability_parts(candidates: Sequence[Sequence[float]]) -> tuple[float, float, float, float, float] | None:
    """Sums of squares between, its degrees of freedom, expected noise in it, and within sums with their degrees."""
    usable = [np.asarray(one, dtype=np.float64) for one in candidates if len(one) > 1]
    if len(usable) < 2:
        return None
    means = np.array([one.mean() for one in usable])
    freedom = len(usable) - 1
    noise = float(np.mean([one.var(ddof=1) / len(one) for one in usable])) * freedom
    within = float(sum(((one - one.mean()) ** 2).sum() for one in usable))
    return (
        float(((means - means.mean()) ** 2).sum()),
        float(freedom),
        noise,
        within,
        float(sum(len(one) - 1 for one in usable)),
    )


# --- agreement -------------------------------------------------------------------------------------------------------


def kappa_counts(yes_yes: float, yes_no: float, no_yes: float, no_no: float) -> float:
    """Cohen's kappa (1960) of two raters' yes/no counts; 0 where both are constant and chance explains everything."""
    total = yes_yes + yes_no + no_yes + no_no
    observed = (yes_yes + no_no) / total
    chance = ((yes_yes + yes_no) * (yes_yes + no_yes) + (no_yes + no_no) * (yes_no + no_no)) / total**2
    return 0.0 if chance == 1 else (observed - chance) / (1 - chance)


@dataclass(frozen=True)
class Agreement:
    """How two graders agree on the same answers."""

    n: int
    accuracy: float
    kappa: float
    interval: Interval
    """Of kappa, over resampled clusters (titles)."""


def agreement(
    ours: Sequence[bool], theirs: Sequence[bool], clusters: Sequence[str], *, draws: int = DRAWS, seed: int = SEED
) -> Agreement:
    """Accuracy and kappa with a cluster bootstrap; the three sequences are parallel and not empty."""
    names = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    counts = np.zeros((len(names), 4))
    for one, other, cluster_name in zip(ours, theirs, clusters, strict=True):
        counts[names[cluster_name], 2 * (not one) + (not other)] += 1
    total = counts.sum(axis=0)
    times = np.random.default_rng([seed, 3]).multinomial(len(names), [1 / len(names)] * len(names), size=draws)
    drawn = np.array([kappa_counts(*row) for row in (times @ counts).tolist()])
    cells: Mapping[str, float] = dict(zip(("yy", "yn", "ny", "nn"), total.tolist(), strict=True))
    return Agreement(
        int(total.sum()), (cells["yy"] + cells["nn"]) / total.sum(), kappa_counts(*total.tolist()), interval(drawn)
    )
