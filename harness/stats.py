"""Statistics of scores that are clustered by context and repeated over seeds.

One estimator serves the whole package. The score of a row is a weighted mean over contexts, averaged over seeds; its
uncertainty comes from a two-level bootstrap that resamples contexts and seeds independently of each other (the
"pigeonhole" bootstrap for crossed factors, Owen 2007, doi:10.1214/07-AOAS122). Rows of the same items share the
resampled contexts, and rows of the same seeds share the resampled seeds, so that differences are paired.

K seeds resampled with replacement show only (K-1)/K of the variance between seeds; seed deviations are therefore
stretched by sqrt(K/(K-1)) before resampling (Davison & Hinkley 1997, section 3.8). Without it three seeds would look a
third less noisy than they are. Inputs and differences are fractions in [0, 1], not points.
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
    """Scores per seed and query, in context order, with ``sizes[c]`` queries in context c."""
    table = np.array([[np.nan if value is None else value for value in one] for one in scores], dtype=np.float64)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    known = ~np.isnan(table)
    counts = np.stack([np.bincount(owner, weights=row, minlength=len(sizes)) for row in known.astype(float)])
    sums = np.stack([np.bincount(owner, weights=row, minlength=len(sizes)) for row in np.nan_to_num(table)])
    values = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    weights = (counts if average == "micro" else counts > 0).astype(np.float64)
    return Clustered(values, weights, tuple(seeds))


def bootstrap(tables: Sequence[Clustered], *, draws: int = DRAWS, seed: int = SEED) -> Array:
    """``[table, draw]``: the mean of every table under the same resampled contexts, and seeds where those agree.

    All tables must be over the same contexts. A draw in which a table has no scored context is NaN.
    """
    contexts = tables[0].values.shape[1]
    if any(table.values.shape[1] != contexts for table in tables):
        raise ValueError("tables over different numbers of contexts cannot share a bootstrap")
    seed_draws = {
        seeds: np.random.default_rng([seed, 1, *seeds]).integers(len(seeds), size=(draws, len(seeds)))
        for seeds in dict.fromkeys(table.seeds for table in tables)
    }
    stretched = [_stretch(table) for table in tables]
    out = np.empty((len(tables), draws))
    for block, times in _resampled(contexts, draws, seed):
        for index, (table, values) in enumerate(zip(tables, stretched, strict=True)):
            with np.errstate(invalid="ignore", divide="ignore"):
                by_seed = (times @ (values * table.weights).T) / (times @ table.weights.T)
            out[index, block] = np.take_along_axis(by_seed, seed_draws[table.seeds][block], axis=1).mean(axis=1)
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


def _stretch(table: Clustered) -> Array:
    """Seed deviations scaled by sqrt(K/(K-1)) about each context's mean over seeds."""
    count = len(table.seeds)
    if count == 1:
        return table.values
    total = table.weights.sum(axis=0)
    centre = np.divide((table.values * table.weights).sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
    scaled: Array = centre + (table.values - centre) * sqrt(count / (count - 1))
    return scaled


def interval(values: Array, level: float = LEVEL) -> Interval:
    """Percentile interval of bootstrap draws, leaving out draws without a value."""
    tail = 50 * (1 - level)
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return Interval(float(low), float(high))


def two_level(table: Clustered, *, draws: int = DRAWS, seed: int = SEED) -> Interval:
    """95% interval of one row's score."""
    return interval(bootstrap([table], draws=draws, seed=seed)[0])


def difference(a: Clustered, b: Clustered, *, draws: int = DRAWS, seed: int = SEED) -> Difference:
    """``b - a`` over the same contexts, paired by context (and by seed where both have the same seeds)."""
    drawn = bootstrap([a, b], draws=draws, seed=seed)
    return difference_from(a.mean, b.mean, drawn[0], drawn[1])


def difference_from(mean_a: float, mean_b: float, drawn_a: Array, drawn_b: Array) -> Difference:
    """``b - a`` from draws that share their resampled contexts."""
    deltas = drawn_b - drawn_a
    deltas = deltas[~np.isnan(deltas)]
    below, above = int((deltas <= 0).sum()), int((deltas >= 0).sum())
    p = min(1.0, 2 * (min(below, above) + 1) / (len(deltas) + 1))
    return Difference(mean_b - mean_a, interval(deltas), p)


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
    paired = a.seeds == b.seeds
    contexts = a.values.shape[1]
    gap_contexts = _influence(b).mean(axis=0) - _influence(a).mean(axis=0)
    per_context = float(np.var(gap_contexts, ddof=1)) if contexts > 1 else 0.0
    per_seed, seeds = _seed_variance(a, b, paired)
    budget = (effect / _Z) ** 2
    left_for_contexts, left_for_seeds = budget - per_seed / seeds, budget - per_context / contexts
    return Needed(
        effect,
        max(2, int(np.ceil(per_context / left_for_contexts))) if left_for_contexts > 0 else None,
        max(2, int(np.ceil(per_seed / left_for_seeds))) if left_for_seeds > 0 and seeds > 1 else None,
    )


def _influence(table: Clustered) -> Array:
    """``[seed, context]`` contributions to each seed's mean, whose plain average over contexts is that mean."""
    total = table.weights.sum(axis=1, keepdims=True)
    mean = (table.values * table.weights).sum(axis=1, keepdims=True) / total
    spread: Array = mean + table.weights / (total / table.weights.shape[1]) * (table.values - mean)
    return spread


def _seed_variance(a: Clustered, b: Clustered, paired: bool) -> tuple[float, int]:
    means_a, means_b = _influence(a).mean(axis=1), _influence(b).mean(axis=1)
    fewest = min(len(means_a), len(means_b))
    if fewest < 2:
        return 0.0, fewest
    if paired:
        return float(np.var(means_b - means_a, ddof=1)), fewest
    return float(np.var(means_a, ddof=1) + np.var(means_b, ddof=1)), fewest


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
