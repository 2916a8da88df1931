"""Statistics of scores that are clustered by context and repeated over seeds; numpy and the standard library only."""

from harness.stats.agreement import Agreement, agreement, kappa_counts
from harness.stats.bootstrap import DRAWS, LEVEL, SEED, Interval, interval
from harness.stats.clustered import Clustered, cluster
from harness.stats.crossed import (
    MIN_CONTEXTS,
    MIN_SEEDS,
    Difference,
    Needed,
    difference,
    mean_interval,
    needed,
    shares_draws,
)
from harness.stats.multiple import holm
from harness.stats.proportions import mcnemar, wilson
from harness.stats.ranks import Flags, RankSet, better_beyond_noise, rank_sets
from harness.stats.reliability import Reliability, reliability

__all__ = [
    "DRAWS",
    "LEVEL",
    "MIN_CONTEXTS",
    "MIN_SEEDS",
    "SEED",
    "Agreement",
    "Clustered",
    "Difference",
    "Flags",
    "Interval",
    "Needed",
    "RankSet",
    "Reliability",
    "agreement",
    "better_beyond_noise",
    "cluster",
    "difference",
    "holm",
    "interval",
    "kappa_counts",
    "mcnemar",
    "mean_interval",
    "needed",
    "rank_sets",
    "reliability",
    "shares_draws",
    "wilson",
]
