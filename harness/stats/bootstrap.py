"""Percentile intervals of bootstrap draws, for figures that have no simple standard error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DRAWS = 10_000
SEED = 0
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An interval from ``low`` to ``high``, in the unit of the figure."""

    low: float
    high: float


def interval(values: Array, level: float = LEVEL) -> Interval:
    """Percentile interval of bootstrap draws ``[draws]``; draws that are NaN are left out."""
    tail = 50 * (1 - level)
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return Interval(float(low), float(high))
