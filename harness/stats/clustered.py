"""One row's scores as a table of seeds and contexts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Clustered:
    """Scores as ``[seed, context]``: the mean over a context's scored queries, and the weight of that mean.

    Weights are 1 for a macro average and the number of scored queries for a micro average; 0 where nothing was scored.
    """

    values: Array
    weights: Array
    seeds: tuple[int, ...]
    same: tuple[int, ...] = ()
    """Per seed, the place of the first seed with the very same scores, its own where there is none. Two seeds that
    agree in everything are one draw, whatever they are called. By the contexts' scores where it is not given."""
    fixed: bool = False
    """Nothing in the row is drawn or was trained, so that another seed could not have come out differently."""

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
        """Seeds that came out differently."""
        return len(set(self.same))

    @property
    def one_draw(self) -> bool:
        """Whether nothing is known of how another seed would have come out."""
        return self.draws < 2 and not self.fixed

    def influence(self) -> Array:
        """``[seed, context]`` contributions to each seed's mean, whose plain average over contexts is that mean."""
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
    """Scores per seed and query, in context order, with ``sizes[c]`` queries in context c.

    A seed of which nothing was scored (its run broke) has no score, and is left out beside others that have.

    Args:
        learnt: whether the row rests on anything trained, updated or generated. Where it does not, two seeds or more
            with the very same scores are a procedure without chance; where it does, they are one draw asked twice.
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
