"""One question from each of many clusters, so that a round's questions differ (ALMA, arXiv 2412.04305, section 3.1)."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

_CHUNK = 2048
"""Points whose distances are in memory at a time."""


def spread(vectors: Sequence[Sequence[float]], count: int, seed: int, rounds: int = 20) -> list[int]:
    """Places of ``count`` vectors: the nearest to the centre of each k-means cluster, in rising order.

    The first centres are vectors drawn in proportion to their squared distance from those drawn before (k-means++).
    Equal vectors may leave fewer clusters; the rest is then filled with the first vectors left.
    """
    if count >= len(vectors):
        return list(range(len(vectors)))
    points = np.asarray(vectors, dtype=np.float64)
    rng = random.Random(seed)
    chosen = [rng.randrange(len(points))]
    distance = _nearest(points, points[chosen])[1]
    while len(chosen) < count:
        weights = distance.tolist() if distance.sum() > 0 else [1.0] * len(points)
        chosen.append(rng.choices(range(len(points)), weights=weights)[0])
        distance = np.minimum(distance, _nearest(points, points[chosen[-1:]])[1])
    centres = points[chosen]
    for _ in range(rounds):
        of, _ = _nearest(points, centres)
        moved = np.stack([points[of == k].mean(0) if (of == k).any() else centres[k] for k in range(count)])
        if np.allclose(moved, centres):
            break
        centres = moved
    of, distance = _nearest(points, centres)
    nearest: dict[int, int] = {}
    for place, (k, far) in enumerate(zip(of.tolist(), distance.tolist(), strict=True)):
        if k not in nearest or far < distance[nearest[k]]:
            nearest[k] = place
    taken = set(nearest.values())
    left = (place for place in range(len(points)) if place not in taken)
    return sorted([*taken, *(next(left) for _ in range(count - len(taken)))])


def _nearest(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each point's nearest centre, and its squared distance from it."""
    size = (centres**2).sum(1)[None, :]
    places, distances = [], []
    for start in range(0, len(points), _CHUNK):
        some = points[start : start + _CHUNK]
        table = (some**2).sum(1)[:, None] + size - 2 * some @ centres.T
        places.append(table.argmin(1))
        distances.append(np.maximum(table.min(1), 0.0))
    return np.concatenate(places), np.concatenate(distances)
