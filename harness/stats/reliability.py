"""The reliability of a reward: how much of its variance is signal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.stats.bootstrap import DRAWS, SEED, Array, Interval, interval


@dataclass(frozen=True)
class Reliability:
    """``value`` is the share of the variance between candidates that is not noise. It is an estimate and may be
    negative, where noise explains all of the variance."""

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
    """Of one context: the sum of squares between candidates, its degrees of freedom, the noise expected in it, the sum
    of squares within candidates, and its degrees of freedom."""
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
