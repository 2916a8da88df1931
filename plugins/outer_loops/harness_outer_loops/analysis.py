"""What a reward is worth: reliability, validity and the true value of what it picks. Pure functions.

A table is ``[contexts, candidates, seeds]``, and everything is about differences among the candidates of one context.
Two columns of different seeds share the truth and not the noise, so the mean of their products estimates variance and
covariance of the noise-free values (the rationale of classical test theory; Spearman 1910, Brown 1910 for more seeds).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
DRAWS = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval over resampled contexts; None where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


def reliability(reward: Array, seeds: int = 1) -> Estimate:
    """Share of the variance of a mean over so many seeds that is not noise: n B / (n B + V - B).

    With a single column the reward has no seed (it trains nothing), and so no noise.
    """
    if reward.shape[2] < 2:
        return Estimate(1.0, 1.0, 1.0)
    parts = np.column_stack([_shared(reward, reward, same_seeds=True), _single(reward)])

    def share(total: Array) -> float | None:
        between, noise = total[0], total[1] - total[0]
        return float(seeds * between / (seeds * between + noise)) if seeds * between + noise > 0 else None

    return resampled(parts, share)


def validity(reward: Array, truth: Array, *, same_seeds: bool) -> Estimate:
    """Correlation of the noise-free reward with the noise-free truth; above 1 by chance where both are noisy.

    Args:
        same_seeds: whether a column of one is of the same updates as that column of the other.
    """
    own = _single(reward) if reward.shape[2] < 2 else _shared(reward, reward, same_seeds=True)
    parts = np.column_stack([_shared(reward, truth, same_seeds=same_seeds), own,
                             _shared(truth, truth, same_seeds=True)])  # fmt: skip

    def correlation(total: Array) -> float | None:
        return float(total[0] / np.sqrt(total[1] * total[2])) if total[1] > 0 and total[2] > 0 else None

    return resampled(parts, correlation)


def picked(reward: Array, truth: Array, seeds: int, *, same_seeds: bool) -> Estimate:
    """True value of the candidate with the highest mean reward over so many seeds, truth being of other seeds.

    The mean over all choices of the seeds; a tie is worth the mean of those tied.
    """
    return resampled(picks(reward, truth, seeds, same_seeds)[:, None])


def advantage(
    reward: Array, other: Array, truth: Array, seeds: tuple[int, int], *, same_seeds: tuple[bool, bool]
) -> Estimate:
    """How much more the first reward's picks are truly worth than the other's, context by context."""
    gap = picks(reward, truth, seeds[0], same_seeds[0]) - picks(other, truth, seeds[1], same_seeds[1])
    return resampled(gap[:, None])


def random_pick(truth: Array) -> float:
    """True value of a candidate drawn at random."""
    return float(truth.mean())


def best_pick(truth: Array) -> float:
    """True value of the best candidate: chosen by all seeds but one and valued by that one, so that it is not chosen
    for its luck; below the unknown best by what that choice misses."""
    last = truth.shape[2]
    if last < 2:
        return float(truth.max(axis=1).mean())
    return float(picks(truth, truth, last - 1, True).mean())


def disagreements(reward: Array, truth: Array, count: int) -> list[tuple[int, int, float, float]]:
    """``(context, candidate, reward, truth)`` where the two, in standard deviations within contexts, differ most."""
    a, b = (_centred(table.mean(axis=2, keepdims=True))[:, :, 0] for table in (reward, truth))
    a, b = (one / one.std() if one.std() > 0 else one for one in (a, b))
    order = np.argsort(-np.abs(a - b), axis=None, kind="stable")[:count]
    places = [(int(place) // a.shape[1], int(place) % a.shape[1]) for place in order]
    return [(c, k, float(reward[c, k].mean()), float(truth[c, k].mean())) for c, k in places]


def _centred(table: Array) -> Array:
    return np.asarray(table - table.mean(axis=1, keepdims=True), dtype=np.float64)


def _shared(one: Array, other: Array, *, same_seeds: bool) -> Array:
    """By context, the mean over pairs of columns of the covariance among candidates."""
    a, b = _centred(one), _centred(other)
    products = np.einsum("cki,ckj->cij", a, b) / (a.shape[1] - 1)
    if not same_seeds or one.shape[2] == 1:
        return np.asarray(products.mean(axis=(1, 2)))
    apart = ~np.eye(products.shape[1], dtype=bool)
    return np.asarray(products[:, apart].mean(axis=1))


def _single(table: Array) -> Array:
    """By context, the variance among candidates of one column, in the mean over columns."""
    a = _centred(table)
    return np.asarray((a**2).sum(axis=1).mean(axis=1) / (a.shape[1] - 1), dtype=np.float64)


def picks(reward: Array, truth: Array, seeds: int, same_seeds: bool) -> Array:
    """By context, the true value of the pick; see :func:`picked`."""
    seeds = min(seeds, reward.shape[2])
    values = []
    for chosen in combinations(range(reward.shape[2]), seeds):
        rest = [j for j in range(truth.shape[2]) if not same_seeds or j not in chosen]
        score = reward[:, :, list(chosen)].mean(axis=2)
        top = score >= score.max(axis=1, keepdims=True) - 1e-9
        values.append((truth[:, :, rest].mean(axis=2) * top).sum(axis=1) / top.sum(axis=1))
    return np.asarray(np.mean(values, axis=0))


def _first(total: Array) -> float:
    return float(total[0])


def resampled(parts: Array, figure: Callable[[Array], float | None] = _first) -> Estimate:
    """A figure of the mean over contexts of ``parts`` ``[contexts, n]``, with its interval over resampled contexts."""
    value = figure(parts.mean(axis=0))
    rng = np.random.default_rng(0)
    drawn = [figure(parts[rng.integers(len(parts), size=len(parts))].mean(axis=0)) for _ in range(DRAWS)]
    known = [one for one in drawn if one is not None]
    if value is None or not known:
        return Estimate(value)
    low, high = np.percentile(known, [2.5, 97.5])
    return Estimate(value, float(low), float(high))
