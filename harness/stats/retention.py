"""What is kept of what was learnt one after another: figures of retention matrices, by formula.

``R[i, j]`` is the measure of context ``j`` (from 1) after edit ``i``; row 0 is before any edit, ``T`` the last one. A
cell that was not measured is NaN, and a figure that needs it is None: nothing is taken for zero.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """Of one sequence, or of the mean matrix of several, in the unit of its cells; None where a cell is missing."""

    base: float | None
    """Mean of ``R[0, j]``: before any edit."""
    learning: float | None
    """Mean of ``R[j, j]``: each context just after its own edit."""
    final: float | None
    """Mean of ``R[T, j]``: all contexts after the last edit (ACC of Lopez-Paz & Ranzato 2017, arXiv 1706.08840)."""
    backward: float | None
    """Mean of ``R[T, j] - R[j, j]`` over ``j < T``: backward transfer (BWT, ibid.)."""
    forward: float | None
    """Mean of ``R[j-1, j] - R[0, j]`` over ``j > 1``: forward transfer (FWT, ibid.)."""
    forgetting: float | None
    """Mean of ``max over i >= j of R[i, j], less R[T, j]`` over ``j < T`` (Chaudhry et al. 2018, arXiv 1801.10112)."""
    gain: float | None
    """Mean of ``R[T, j] - R[0, j]``: what all edits together brought."""


NAMES = tuple(one.name for one in fields(Figures))


def figures(matrix: Array) -> Figures:
    """The figures of one ``[T + 1, T]`` matrix.

    Raises:
        ValueError: another shape.
    """
    edits = matrix.shape[1] if matrix.ndim == 2 else 0
    if not edits or matrix.shape[0] != edits + 1:
        raise ValueError(f"a retention matrix has the shape (T + 1, T), not {matrix.shape}")
    own = np.array([matrix[j + 1, j] for j in range(edits)])
    best = np.array([matrix[j + 1 :, j].max() for j in range(edits)])
    before = np.array([matrix[j, j] for j in range(edits)])
    start, final = matrix[0], matrix[-1]
    return Figures(
        _mean(start),
        _mean(own),
        _mean(final),
        _mean((final - own)[:-1]),
        _mean((before - start)[1:]),
        _mean((best - final)[:-1]),
        _mean(final - start),
    )


def _mean(values: Array) -> float | None:
    return float(values.mean()) if values.size and not np.isnan(values).any() else None
