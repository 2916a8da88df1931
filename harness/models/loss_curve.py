"""The loss of an update, step by step, as its log keeps it."""

from __future__ import annotations

import math
from collections.abc import Sequence

POINTS = 48
"""The most that is kept of a curve: a run has thousands of updates, and each log is booked."""


def thinned(losses: Sequence[float]) -> list[float]:
    """A curve of at most :data:`POINTS` points, the first and the last among them, with four digits each.

    What is not finite is left out: the update's status says that it diverged.
    """
    known = [one for one in losses if math.isfinite(one)]
    if len(known) > POINTS:
        known = [known[round(place * (len(known) - 1) / (POINTS - 1))] for place in range(POINTS)]
    return [float(f"{one:.4g}") for one in known]
