"""Repetition over a whole batch: BLEU, and clusters of texts that say nearly the same. Pure functions.

R-Zero (Huang et al. 2025, arXiv 2508.05004, section 3.2) as its released code computes it: distance 1 - BLEU, average
linkage, cut at 0.5, over all generations that are rewarded together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

_GRAMS = 4
_LEAST = 0.1
"""What is put in place of a count of 0: smoothing method 1 of Chen and Cherry (2014)."""


def bleu(hypothesis: Sequence[str], reference: Sequence[str]) -> float:
    """Sentence BLEU of token sequences (Papineni et al. 2002) with 1 to 4 grams and smoothing; in [0, 1].

    0 where not even a word is shared. It is not symmetric.
    """
    total = 0.0
    for n in range(1, _GRAMS + 1):
        mine = Counter(tuple(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1))
        theirs = Counter(tuple(reference[i : i + n]) for i in range(len(reference) - n + 1))
        shared = sum(min(count, theirs[gram]) for gram, count in mine.items())
        if n == 1 and shared == 0:
            return 0.0
        total += math.log((shared or _LEAST) / max(1, sum(mine.values())))
    brevity = min(0.0, 1.0 - len(reference) / len(hypothesis))
    return min(1.0, math.exp(total / _GRAMS + brevity))


def clusters(texts: Sequence[str], cut: float = 0.5) -> list[int]:
    """The cluster of every text, numbered in the order in which clusters are first met."""
    words = [text.split() for text in texts]
    different = {tuple(one): i for i, one in reversed(list(enumerate(words)))}
    places = sorted(different.values())
    distance = np.zeros((len(places), len(places)))
    for i, a in enumerate(places):
        for j in range(i + 1, len(places)):
            distance[i, j] = distance[j, i] = 1.0 - bleu(words[a], words[places[j]])
    sizes = Counter(tuple(one) for one in words)
    found = average_linkage(distance, cut, [sizes[tuple(words[place])] for place in places])
    of = {tuple(words[place]): number for place, number in zip(places, found, strict=True)}
    return [of[tuple(one)] for one in words]


def average_linkage(distance: np.ndarray, cut: float, sizes: Sequence[int] | None = None) -> list[int]:
    """Clusters by average linkage: the two nearest join, over and over, while they are no further apart than ``cut``.

    Args:
        distance: symmetric, [n, n].
        sizes: how many items each row stands for.
    """
    n = len(distance)
    table = distance.astype(float).copy()
    np.fill_diagonal(table, np.inf)
    weight = [1] * n if sizes is None else list(sizes)
    members = {i: [i] for i in range(n)}
    while len(members) > 1:
        i, j = (int(place) for place in sorted(np.unravel_index(int(table.argmin()), table.shape)))
        if not table[i, j] <= cut:
            break
        joined = (weight[i] * table[i] + weight[j] * table[j]) / (weight[i] + weight[j])
        joined[[i, j]] = np.inf
        table[i], table[:, i] = joined, joined
        table[j], table[:, j] = np.inf, np.inf
        weight[i] += weight[j]
        members[i] += members.pop(j)
    number = {place: min(mine) for mine in members.values() for place in mine}
    order = {first: at for at, first in enumerate(dict.fromkeys(number[i] for i in range(n)))}
    return [order[number[i]] for i in range(n)]


def repetition(texts: Sequence[str], cut: float = 0.5) -> list[float]:
    """Share of the batch that is in each text's cluster, itself included."""
    found = clusters(texts, cut)
    counts = Counter(found)
    return [counts[number] / len(texts) for number in found]
