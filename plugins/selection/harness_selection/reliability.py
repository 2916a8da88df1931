"""SimPLE's test of pseudo-labels (Ge et al. 2023, arXiv 2305.17197, section 3.2): which labels neighbours contradict.

Pure functions, as the released code computes them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float64]
CHUNK = 512
"""Rows of the table of distances that are held at a time."""


def neighbours(vectors: Vectors, k: int) -> list[NDArray[np.intp]]:
    """For every node, those strictly nearer than its k-th nearest: k - 1 nodes where no two are as far, itself among
    them."""
    squares = (vectors**2).sum(1)
    k = min(k, len(vectors))
    out = []
    for start in range(0, len(vectors), CHUNK):
        part = vectors[start : start + CHUNK]
        far = squares[start : start + CHUNK, None] - 2 * part @ vectors.T + squares
        far[np.arange(len(part)), np.arange(start, start + len(part))] = -1.0  # oneself is the nearest
        limit = np.partition(far, k - 1, axis=1)[:, k - 1 : k]
        out += [np.flatnonzero(row) for row in far < limit]
    return out


def suspicion(vectors: Vectors, labels: Sequence[bool], k: int = 9) -> Vectors:
    """z of every node: how many more of its neighbours, weighted by 1 / (1 + distance), disagree than by chance.

    J = sum of the weights of those with another label; by chance each disagrees with probability 1 - p(label), so that
    J has the mean (1 - p) * sum(w) and the variance p * (1 - p) * sum(w^2). With one label among all, every z is 0.

    Args:
        vectors: [nodes, width].
    """
    said = np.asarray(labels, dtype=bool)
    share = said.mean() if len(said) else 0.0
    out = np.zeros(len(said))
    if not 0 < share < 1:
        return out
    for node, near in enumerate(neighbours(vectors, k)):
        weights = 1 / (1 + np.linalg.norm(vectors[near] - vectors[node], axis=1))
        p = share if said[node] else 1 - share
        mean, variance = (1 - p) * weights.sum(), p * (1 - p) * (weights**2).sum()
        cut = weights[said[near] != said[node]].sum()
        out[node] = (cut - mean) / np.sqrt(variance) if variance > 0 else 0.0
    return out


def reliable(z: Vectors, drop: float) -> NDArray[np.bool_]:
    """Nodes outside the share ``drop`` with the largest z (rounded down); of equal ones the first stay."""
    keep = np.ones(len(z), dtype=bool)
    order = np.argsort(z, kind="stable")
    keep[order[len(z) - int(drop * len(z)) :]] = False
    return keep


def decided(votes: Sequence[bool], trusted: Sequence[bool], plain: bool) -> bool:
    """An item's label: what most of its reliable passes say; on a tie, or without any, that of the pass without
    dropout."""
    mine = [vote for vote, yes in zip(votes, trusted, strict=True) if yes]
    true = sum(mine)
    return plain if 2 * true == len(mine) else 2 * true > len(mine)
