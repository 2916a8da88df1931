"""Which candidates the policy is trained on, and how far their rewards can be trusted. Pure functions.

The paper writes the filter as "the edit improves the student" (equation 2); its released code keeps the best of a
passage's candidates whether or not it improves anything. Both are here; ``best`` is the reference. On ARC, where a
reward is 0 or 1, the release keeps every candidate that has one: ``positive``.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, variance
from typing import Literal

Rule = Literal["best", "improving", "positive"]


def best(rewards: Sequence[float | None]) -> list[int]:
    """The first of the highest rewards; nothing where no candidate has one."""
    known = [(reward, index) for index, reward in enumerate(rewards) if reward is not None]
    return [max(known, key=lambda pair: pair[0])[1]] if known else []


def improving(gains: Sequence[float | None]) -> list[int]:
    """Every candidate after which the student knows more than before."""
    return [index for index, gain in enumerate(gains) if gain is not None and gain > 0]


def positive(rewards: Sequence[float | None]) -> list[int]:
    """Every candidate with a reward above 0."""
    return [index for index, reward in enumerate(rewards) if reward is not None and reward > 0]


def reliability(groups: Sequence[Sequence[Sequence[float]]]) -> float | None:
    """The share of the variance between a context's candidates that is not noise of the inner runs.

    One minus the ratio of two means over contexts: the variance of a candidate's mean (within-candidate variance over
    the number of runs), and the variance of the candidates' means (both with n - 1). The published rounds of SEAL have
    0.32 and 0.17: most of what best-of-5 selects on is noise.

    Args:
        groups: for each context, for each candidate, the reward of every inner run.

    Returns:
        A share in [0, 1]; None with fewer than two runs or candidates, or where all candidates are equal.
    """
    noise, between = [], []
    for candidates in groups:
        if len(candidates) < 2 or any(len(runs) < 2 for runs in candidates):
            continue
        noise.append(fmean(variance(runs) / len(runs) for runs in candidates))
        between.append(variance([fmean(runs) for runs in candidates]))
    if not between or not sum(between):
        return None
    return max(0.0, 1.0 - sum(noise) / sum(between))
