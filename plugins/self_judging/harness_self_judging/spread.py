"""One question from each of many clusters, so that a round's questions differ (ALMA, arXiv 2412.04305, section 3.1)."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np


def spread(vectors: Sequence[Sequence[float]], count: int, seed: int, rounds: int = 20) -> list[int]:
    """Places of ``count`` vectors: the nearest to the centre of each k-means cluster, in rising order.

    The clusters begin at vectors that are drawn in proportion to their squared distance from those drawn before
    (k-means++). Equal vectors may leave fewer clusters; the rest is then filled with the first vectors left.
    """
    if count >= len(vectors):
        return list(range(len(vectors)))
    points = np.asarray(vectors, dtype=np.float64)
    rng = random.Random(seed)
    chosen = [rng.randrange(len(points))]
    while len(chosen) < count:
        distance = _squared(points, points[chosen]).min(1)
        weights = distance.tolist() if distance.sum() > 0 else [1.0] * len(points)
        chosen.append(rng.choices(range(len(points)), weights=weights)[0])
    centres = points[chosen]
    for _ in range(rounds):
        of = _squared(points, centres).argmin(1)
        moved = np.stack([points[of == k].mean(0) if (of == k).any() else centres[k] for k in range(count)])
        if np.allclose(moved, centres):
            break
        centres = moved
    distance = _squared(points, centres)
    of = distance.argmin(1)
    nearest = {int(np.where(of == k, distance[:, k], np.inf).argmin()) for k in range(count) if (of == k).any()}
    left = (place for place in range(len(points)) if place not in nearest)
    return sorted([*nearest, *(next(left) for _ in range(count - len(nearest)))])


def _squared(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances, [points, centres]."""
    return np.maximum((points**2).sum(1)[:, None] + (centres**2).sum(1)[None, :] - 2 * points @ centres.T, 0.0)
