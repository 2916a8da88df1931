"""Common beginnings of many texts: what is computed once for all texts that begin with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHORTEST = 32
"""Tokens of the shortest common beginning that is worth a forward of its own."""


@dataclass(frozen=True)
class Run:
    """Texts of one stack whose first `shared` tokens are computed once; for a single text, all of its tokens."""

    stack: str
    members: tuple[int, ...]
    """Places in the caller's list."""
    shared: int


def common_beginnings(texts: Sequence[tuple[str, tuple[int, ...]]]) -> list[Run]:
    """Join (stack, ids) that are neighbours in sorted order into runs while their common beginning is long.

    Every member of a run keeps at least one token of its own.
    """
    runs: list[Run] = []
    for place in sorted(range(len(texts)), key=lambda place: texts[place]):
        stack, ids = texts[place]
        if runs and runs[-1].stack == stack:
            last = runs[-1]
            first = texts[last.members[0]][1]
            limit = min(last.shared - (len(last.members) == 1), len(ids) - 1)
            shared = next((i for i in range(limit) if first[i] != ids[i]), limit)
            if shared >= SHORTEST and (len(last.members) == 1 or 2 * shared >= last.shared):
                runs[-1] = Run(stack, (*last.members, place), shared)
                continue
        runs.append(Run(stack, (place,), len(ids)))
    return runs
