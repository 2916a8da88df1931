"""Which candidates the policy is trained on. Pure functions.

The paper writes the filter as "the edit improves the student" (equation 2); its released code keeps the best of a
passage's candidates whether or not it improves anything. Both are here; ``best`` is the reference. On ARC, where a
reward is 0 or 1, the release keeps every candidate with reward 1: ``positive``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Rule = Literal["best", "improving", "positive"]


def best(rewards: Sequence[float | None]) -> list[int]:
    """The first candidate with the highest reward; none if no candidate has a reward."""
    known = [(reward, index) for index, reward in enumerate(rewards) if reward is not None]
    return [max(known, key=lambda pair: pair[0])[1]] if known else []


def improving(gains: Sequence[float | None]) -> list[int]:
    """Every candidate after which the student knows more than before."""
    return [index for index, gain in enumerate(gains) if gain is not None and gain > 0]


def positive(rewards: Sequence[float | None]) -> list[int]:
    """Every candidate with a reward above 0."""
    return [index for index, reward in enumerate(rewards) if reward is not None and reward > 0]
