"""Novelty within a group of texts, and EVOL-RL's bands of majority and novelty. Pure functions.

EVOL-RL (Zhou et al. 2025, arXiv 2509.15194, section 3.2) as its released code computes it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
TIED = 1e-9


def cosine(vectors: Sequence[Sequence[float]]) -> Matrix:
    """Similarities in [0, 1], negative ones cut to 0; a vector of zeros is like nothing but itself."""
    table = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    unit = np.divide(table, norms, out=np.zeros_like(table), where=norms > 0)
    out: Matrix = np.clip(unit @ unit.T, 0.0, 1.0)
    np.fill_diagonal(out, 1.0)
    return out


def ngram_overlap(texts: Sequence[Sequence[object]], n: int = 3) -> Matrix:
    """Jaccard similarity of sets of n-grams of tokens; texts shorter than n count as one gram."""
    grams = [frozenset(tuple(t[i : i + n]) for i in range(len(t) - n + 1)) or frozenset([tuple(t)]) for t in texts]
    out = np.eye(len(texts))
    for i, a in enumerate(grams):
        for j in range(i):
            out[i, j] = out[j, i] = len(a & grams[j]) / len(a | grams[j])
    return out


def novelties(similar: Matrix, majority: Sequence[bool], weight: float = 0.5) -> list[float]:
    """u = 1 - (weight * mean similarity within one's own side + (1 - weight) * the largest to anybody else).

    A member that is alone on its side takes the mean over everybody.
    """
    n = len(majority)
    out = []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        if not others:
            out.append(0.0)
            continue
        own = [j for j in others if majority[j] == majority[i]] or others
        out.append(1.0 - (weight * float(similar[i, own].mean()) + (1 - weight) * float(similar[i, others].max())))
    return out


def banded(similar: Matrix, majority: Sequence[bool], weight: float = 0.5) -> list[float]:
    """Rewards of the valid answers of a group: the majority's in [0.5, 1], all others' in [-1, -0.5].

    Within a side, novelty is stretched to its whole band; where a side's novelties are all equal, everybody takes the
    middle (0.75 or -0.75). A side's lone member takes the top of its band (1 or -0.5).

    Args:
        similar: of the group's valid answers, [n, n].
        majority: which of them give the majority's answer.
    """
    found = novelties(similar, majority, weight)
    out = [0.0] * len(majority)
    for side, floor in ((True, 0.5), (False, -1.0)):
        mine = [i for i, one in enumerate(majority) if one == side]
        if not mine:
            continue
        low, high = min(found[i] for i in mine), max(found[i] for i in mine)
        for i in mine:
            alone, spread = len(mine) == 1, high - low
            place = 1.0 if alone else (found[i] - low) / spread if spread > TIED else 0.5
            out[i] = floor + 0.5 * place
    return out
