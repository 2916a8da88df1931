"""Judgements ranked by a meta-judge: position weights, the table of battles, Elo. Pure functions.

Meta-Rewarding (Wu et al. 2024, arXiv 2407.19594, section 2.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from math import log

import numpy as np

RIDGE = 1e-3
"""Weight of the squared ratings in :func:`elo`, ours: who never loses would otherwise be rated infinitely high."""
_SCALE = 400 / log(10)
"""Elo's points per natural unit of odds."""


@dataclass(frozen=True)
class Match:
    """Two judgements of one answer, by their places among all of it, in the order in which they were shown."""

    first: int
    second: int
    first_wins: bool | None
    """None where the meta-judge's verdict could not be read, which counts for nobody."""


def pairings(players: int) -> list[tuple[int, int]]:
    """Everybody against everybody, each pair in both orders."""
    return list(permutations(range(players), 2))


def position_weights(matches: Sequence[Match]) -> tuple[float, float]:
    """What a win counts at the first and at the second place: the share of all wins that went to the other place.

    So wins at the place that the meta-judge favours count less, and both places give as much in total (equation 2).
    Both are 0.5 where there was no win at all.
    """
    first = sum(match.first_wins is True for match in matches)
    second = sum(match.first_wins is False for match in matches)
    total = first + second
    return (second / total, first / total) if total else (0.5, 0.5)


def battles(players: int, matches: Sequence[Match], weights: tuple[float, float]) -> np.ndarray:
    """Entry [m, n]: what m's wins over n count, whichever was shown first (equation 3)."""
    table = np.zeros((players, players))
    for match in matches:
        if match.first_wins is True:
            table[match.first, match.second] += weights[0]
        elif match.first_wins is False:
            table[match.second, match.first] += weights[1]
    return table


def elo(table: np.ndarray) -> list[float]:
    """Ratings in Elo points with the mean 0, the likeliest under the battles: they maximise the sum of
    B[m, n] log sigmoid(e_m - e_n), less a small ridge (equation 4)."""
    n = len(table)
    ratings = np.zeros(n)
    for _ in range(100):
        wins = 1 / (1 + np.exp(-(ratings[:, None] - ratings[None, :])))  # of the row over the column
        gradient = (table * (1 - wins)).sum(1) - (table.T * wins).sum(1) - 2 * RIDGE * ratings
        spread = (table + table.T) * wins * (1 - wins)
        hessian = np.diag(spread.sum(1) + 2 * RIDGE) - spread
        step = np.linalg.solve(hessian, gradient)
        ratings += step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-10:
            break
    return [float(rating) for rating in (ratings - ratings.mean()) * _SCALE]


def best_and_worst(ratings: Sequence[float]) -> tuple[int, int] | None:
    """Places of the highest and of the lowest rating, the first of equals; None where all are equal."""
    if not ratings or max(ratings) - min(ratings) < 1e-6:
        return None
    return ratings.index(max(ratings)), ratings.index(min(ratings))
