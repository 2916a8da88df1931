"""Two attempts out of many answers, by voting in two stages (Akyürek et al., arXiv 2411.07279; SEAL B.7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from harness.tasks.arc.augment import IDENTITY, TRANSPOSE
from harness.tasks.arc.grid import Grid

_T = TypeVar("_T")

NOMINATED = 3
ATTEMPTS = 2


def vote(answers: Sequence[tuple[str, Grid]]) -> tuple[Grid, ...]:
    """At most two attempts, the better first, from ``(category, grid)``; none where there is no answer.

    The category is the augmentation under which the question was shown (the answer is already turned back). Three
    candidates are nominated by all answers together and by each category on its own; the two nominated most often are
    the attempts. Where the second and the third are nominated equally often, the third takes the place unless the
    second is more frequent among the unaugmented answers. All other ties go to the candidate nominated first.
    """
    categories = dict.fromkeys(category for category, _ in answers)
    nominated = nominate([grid for _, grid in answers])
    for one in categories:
        nominated += nominate([grid for category, grid in answers if category == one])
    ranked = [grid for grid, _ in Counter(nominated).most_common()]
    if len(ranked) > ATTEMPTS:
        nominations = Counter(nominated)
        plain = Counter(grid for category, grid in answers if category == IDENTITY.name)
        second, third = ranked[1:3]
        if nominations[second] == nominations[third] and plain[third] >= plain[second]:
            ranked[1] = third
    return tuple(ranked[:ATTEMPTS])


def nominate(grids: Sequence[Grid]) -> list[Grid]:
    """The three most frequent grids; where there are fewer, completed by the row-wise and the column-wise majority."""
    chosen = [grid for grid, _ in Counter(grids).most_common(NOMINATED)]
    for majority in (row_majority, column_majority):
        if grids and len(chosen) < NOMINATED and (grid := majority(grids)) not in chosen:
            chosen.append(grid)
    return chosen


def row_majority(grids: Sequence[Grid]) -> Grid:
    """Each row the most frequent one at its place, among the grids of the most frequent shape."""
    shape = _most([(len(grid), len(grid[0])) for grid in grids])
    alike = [grid for grid in grids if (len(grid), len(grid[0])) == shape]
    return tuple(_most(rows) for rows in zip(*alike, strict=True))


def column_majority(grids: Sequence[Grid]) -> Grid:
    """As :func:`row_majority`, with columns for rows."""
    turn = TRANSPOSE.forward
    return turn(row_majority([turn(grid) for grid in grids]))


def _most(items: Sequence[_T]) -> _T:
    return Counter(items).most_common(1)[0][0]
