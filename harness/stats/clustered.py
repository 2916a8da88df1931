"""The scores of one row as a table over seeds and contexts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Clustered:
    """Arrays ``[seed, context]``: the mean over a context's scored queries, and the weight of that mean.

    Weights are 1 for a macro average and the number of scored queries for a micro average; 0 where nothing was scored.
    """

    values: Array
    weights: Array
    seeds: tuple[int, ...]
    same: tuple[int, ...] = ()
    """For each seed, the index of the first seed with exactly the same scores, which may be its own. Seeds with equal
    scores count as one draw. Where it is not given, the contexts' means are compared."""
    fixed: bool = False
    """Whether the row is deterministic: nothing in it was sampled or trained, so another seed would score the same."""

    def __post_init__(self) -> None:
        if not self.same:
            object.__setattr__(self, "same", _first_alike(self.values))

    @property
    def mean(self) -> float:
        """The score: each seed's weighted mean over contexts, averaged over seeds. NaN where nothing was scored."""
        total = self.weights.sum(axis=1)
        if not total.all():
            return float("nan")
        return float(((self.values * self.weights).sum(axis=1) / total).mean())

    @property
    def contexts(self) -> int:
        return int(self.values.shape[1])

    @property
    def draws(self) -> int:
        """The number of seeds with distinct scores."""
        return len(set(self.same))

    @property
    def one_draw(self) -> bool:
        """Whether the row tells nothing about how far another seed's score could differ."""
        return self.draws < 2 and not self.fixed

    def influence(self) -> Array:
        """Contributions ``[seed, context]`` to each seed's mean: their unweighted average over contexts is that
        mean."""
        total = self.weights.sum(axis=1, keepdims=True)
        mean = (self.values * self.weights).sum(axis=1, keepdims=True) / total
        spread: Array = mean + self.weights / (total / self.weights.shape[1]) * (self.values - mean)
        return spread


def cluster(
    scores: Sequence[Sequence[float | None]],
    sizes: Sequence[int],
    seeds: Sequence[int],
    average: Literal["macro", "micro"] = "macro",
    *,
    learnt: bool = True,
) -> Clustered:
    """A :class:`Clustered` from the scores of each seed.

    A seed without any score (its run broke) is left out where other seeds have some.

    Args:
        scores: ``scores[seed][query]``, queries in the order of their contexts; None where there is no value.
        sizes: the number of queries of each context.
        learnt: whether anything behind the row was trained, updated or generated. If not, two or more seeds with
            exactly the same scores show a deterministic procedure; if so, they count as one draw.
    """
    if measured := [place for place, one in enumerate(scores) if any(value is not None for value in one)]:
        scores, seeds = [scores[place] for place in measured], [seeds[place] for place in measured]
    table = np.array([[np.nan if value is None else value for value in one] for one in scores], dtype=np.float64)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    known = ~np.isnan(table)
    counts = np.stack([np.bincount(owner, weights=row, minlength=len(sizes)) for row in known.astype(float)])
    sums = np.stack([np.bincount(owner, weights=row, minlength=len(sizes)) for row in np.nan_to_num(table)])
    values = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    weights = (counts if average == "micro" else counts > 0).astype(np.float64)
    same = _first_alike(np.nan_to_num(table, nan=-1.0))
    fixed = not learnt and len(same) > 1 and len(set(same)) == 1
    return Clustered(values, weights, tuple(seeds), same, fixed)


def _first_alike(table: Array) -> tuple[int, ...]:
    seen: dict[bytes, int] = {}
    return tuple(seen.setdefault(row.tobytes(), place) for place, row in enumerate(table))
