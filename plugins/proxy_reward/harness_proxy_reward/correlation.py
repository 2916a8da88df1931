"""Rank correlation of two rewards of the same edits, with an interval over contexts, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pairs = Sequence[tuple[float, float]]
"""``(proxy, true)`` of one context's edits."""


@dataclass(frozen=True)
class Correlation:
    """A coefficient in [-1, 1] with its 95% percentile interval; None if undefined (one side does not vary)."""

    value: float | None
    low: float | None
    high: float | None


def spearman(contexts: Sequence[Pairs], *, within: bool, seed: int, draws: int = 2000) -> Correlation:
    """Spearman's coefficient over the edits of all contexts, ties ranked by their mean.

    Args:
        within: rank within each context and subtract its mean rank, so that only differences between one context's
            candidates count; otherwise rank all edits together.
        seed: seed of the bootstrap, which draws whole contexts with replacement.
    """
    tables = [np.asarray(pairs, dtype=np.float64).reshape(-1, 2) for pairs in contexts if len(pairs) > 0]
    if within:
        # Ranks are computed within a context, so they need not be computed again for each draw.
        tables = [np.column_stack([_centred(table[:, 0]), _centred(table[:, 1])]) for table in tables if len(table) > 1]
    if not tables:
        return Correlation(None, None, None)
    coefficient = _pearson if within else _of_ranks
    value = coefficient(np.concatenate(tables))
    generator = np.random.default_rng(seed)
    drawn = [
        coefficient(np.concatenate([tables[i] for i in generator.integers(len(tables), size=len(tables))]))
        for _ in range(draws)
    ]
    known = [one for one in drawn if one is not None]
    if value is None or not known:
        return Correlation(value, None, None)
    low, high = np.percentile(known, [2.5, 97.5])
    return Correlation(value, float(low), float(high))


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: NDArray[np.float64] = (last - (counts - 1) / 2)[place]
    return means


def _centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    found = ranks(values)
    centred: NDArray[np.float64] = found - found.mean()
    return centred


def _of_ranks(table: NDArray[np.float64]) -> float | None:
    return _pearson(np.column_stack([_centred(table[:, 0]), _centred(table[:, 1])]))


def _pearson(centred: NDArray[np.float64]) -> float | None:
    a, b = centred[:, 0], centred[:, 1]
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 1e-12 else None
