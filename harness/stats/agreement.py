"""Agreement of two graders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.stats.bootstrap import DRAWS, SEED, Interval, interval


def kappa_counts(yes_yes: float, yes_no: float, no_yes: float, no_no: float) -> float:
    """Cohen's kappa (1960) of two raters' yes/no counts; 0 where both are constant, so that chance explains all of
    it."""
    total = yes_yes + yes_no + no_yes + no_no
    observed = (yes_yes + no_no) / total
    chance = ((yes_yes + yes_no) * (yes_yes + no_yes) + (no_yes + no_no) * (yes_no + no_no)) / total**2
    return 0.0 if chance == 1 else (observed - chance) / (1 - chance)


@dataclass(frozen=True)
class Agreement:
    """How well two graders agree on the same ``n`` answers."""

    n: int
    accuracy: float
    kappa: float
    interval: Interval
    """Interval of kappa over resampled clusters (titles)."""


def agreement(
    ours: Sequence[bool], theirs: Sequence[bool], clusters: Sequence[str], *, draws: int = DRAWS, seed: int = SEED
) -> Agreement:
    """Accuracy and kappa, with a cluster bootstrap. The three sequences are parallel and not empty."""
    names = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    counts = np.zeros((len(names), 4))
    for one, other, cluster_name in zip(ours, theirs, clusters, strict=True):
        counts[names[cluster_name], 2 * (not one) + (not other)] += 1
    total = counts.sum(axis=0)
    times = np.random.default_rng([seed, 3]).multinomial(len(names), [1 / len(names)] * len(names), size=draws)
    drawn = np.array([kappa_counts(*row) for row in (times @ counts).tolist()])
    cells: Mapping[str, float] = dict(zip(("yy", "yn", "ny", "nn"), total.tolist(), strict=True))
    return Agreement(
        int(total.sum()), (cells["yy"] + cells["nn"]) / total.sum(), kappa_counts(*total.tolist()), interval(drawn)
    )
