"""The loss curve of an update, thinned out for its log."""

from __future__ import annotations

import math
from collections.abc import Sequence

POINTS = 48
"""The most points of a curve: a run has thousands of updates, and each one's log is booked."""


def thinned(losses: Sequence[float]) -> list[float]:
    """At most :data:`POINTS` points of a curve, evenly spaced, the first and the last included, with four digits each.

    Losses that are not finite are left out: the update's status says that it diverged.
    """
    known = [one for one in losses if math.isfinite(one)]
    if len(known) > POINTS:
        known = [known[round(place * (len(known) - 1) / (POINTS - 1))] for place in range(POINTS)]
    return [float(f"{one:.4g}") for one in known]
