"""The offline judge's rule as pure functions: four measurements of an edit, and the mark for each."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from statistics import fmean

from harness_proxy_reward.rubric import HIGHEST, LOWEST

_WORD = re.compile(r"\w+")


def lines_of(text: str) -> list[str]:
    """The statements of an edit: its lines that contain a word."""
    return [line.strip() for line in text.splitlines() if _WORD.search(line)]


def relative_length(edit: str, passage: str) -> float:
    """Words of the edit for each word of the passage."""
    return len(_WORD.findall(edit)) / max(1, len(_WORD.findall(passage)))


def overlap(lines: Sequence[str]) -> float:
    """How much lines repeat each other: mean over lines of the largest Jaccard index with another line, in [0, 1]."""
    sets = [frozenset(word.lower() for word in _WORD.findall(line)) for line in lines]
    if len(sets) < 2:
        return 0.0
    return fmean(
        max(len(one & other) / len(one | other) for j, other in enumerate(sets) if j != i) for i, one in enumerate(sets)
    )


def length_mark(ratio: float, low: float, high: float) -> int:
    """5 within the band, and one less for every factor of the square root of two outside it."""
    if ratio <= 0:
        return LOWEST
    octaves = max(0.0, math.log2(low / ratio), math.log2(ratio / high))
    return max(LOWEST, HIGHEST - math.ceil(2 * octaves - 1e-9))


def step_mark(value: float, steps: Sequence[float]) -> int:
    """1, and one more for each of the four rising steps that the value reaches."""
    return LOWEST + sum(value >= step for step in steps)
