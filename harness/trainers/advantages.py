"""From the rewards of groups to advantages. Pure functions.

* ``mean``: r - mean of the group (GRPO, Shao et al. 2024, arXiv 2402.03300, section 4.1.2; without the division it is
  that of "Dr. GRPO", Liu et al. 2025, arXiv 2503.20783).
* ``others``: r - mean of the other members (RLOO, Ahmadian et al. 2024, arXiv 2402.14740, eq. 6); n / (n - 1) times
  the former.

Divided by the standard deviation (n - 1) of the ``group``, as in GRPO, or of all rewards of the ``batch`` (Liu et al.
2025, "Tricks or Traps?", arXiv 2508.08221); ``off`` by default: in a group whose members differ by noise alone, the
division makes the noise large.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Literal

Baseline = Literal["mean", "others"]
Scale = Literal["off", "group", "batch"]
TIED = 1e-9
"""Rewards no further apart than this are equal: what differs is the order of floating-point sums."""


def group_advantages(
    rewards: Sequence[Sequence[float | None]], *, baseline: Baseline = "mean", scale: Scale = "off"
) -> list[list[float | None]]:
    """``rewards[group][member]`` -> advantages of the same shape.

    A member without a reward has no advantage (None), and is in no baseline and no deviation. A group whose rewards are
    tied, and one with a single reward, has advantages of exactly 0.
    """
    rows = [_centred(group, baseline) for group in rewards]
    if scale == "off":
        return rows
    if scale == "group":
        return [_over(row, _deviation(group)) for row, group in zip(rows, rewards, strict=True)]
    shared = _deviation([reward for group in rewards for reward in group])
    return [_over(row, shared) for row in rows]


def _centred(group: Sequence[float | None], baseline: Baseline) -> list[float | None]:
    known = [reward for reward in group if reward is not None]
    if len(known) < 2 or max(known) - min(known) <= TIED:
        return [None if reward is None else 0.0 for reward in group]
    mean = fmean(known)
    factor = len(known) / (len(known) - 1) if baseline == "others" else 1.0
    return [None if reward is None else factor * (reward - mean) for reward in group]


def _deviation(rewards: Sequence[float | None]) -> float:
    known = [reward for reward in rewards if reward is not None]
    return stdev(known) if len(known) > 1 else 0.0


def _over(row: Sequence[float | None], deviation: float) -> list[float | None]:
    """Divided by the deviation. TRL and verl add 1e-4 and 1e-6 against a division by 0; here ties are 0 already."""
    return [value / deviation if value else value for value in row]
