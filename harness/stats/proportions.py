"""Statistics of right and wrong answers: the interval of a proportion, and McNemar's test."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt
from statistics import NormalDist

from harness.stats.bootstrap import LEVEL, Interval


def wilson(successes: int, trials: int, level: float = LEVEL) -> Interval:
    """The score interval of a proportion (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    For counts of independent trials, as papers report them. Where trials share contexts or a trained policy it is too
    narrow; use :func:`harness.stats.mean_interval` there.

    Raises:
        ValueError: there are no trials, or ``successes`` is not in 0..``trials``.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes in {trials} trials")
    return score_interval(successes / trials, trials, NormalDist().inv_cdf(0.5 + level / 2))


def score_interval(share: float, trials: float, z: float) -> Interval:
    """The proportions p that lie within ``z`` of their own standard errors, over ``trials``, of the observed
    ``share``."""
    middle = (share * trials + z * z / 2) / (trials + z * z)
    half = z / (trials + z * z) * sqrt(share * (1 - share) * trials + z * z / 4)
    # At 0 and 1 one end is the share itself; rounding must not leave it outside.
    return Interval(min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))


def mcnemar(a: Sequence[float | None], b: Sequence[float | None]) -> float | None:
    """Exact two-sided p of McNemar's test (1947, binomial form) for two lists of binary scores of the same queries.

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
