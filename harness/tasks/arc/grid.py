"""Grids and puzzles of ARC-AGI as immutable values (Chollet 2019, arXiv 1911.01547)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

Grid: TypeAlias = tuple[tuple[int, ...], ...]
"""Rows of colours 0 to 9, all of one length; 1 to 30 rows and columns."""

MAX_SIDE = 30
COLOURS = 10


class BadGrid(ValueError):
    """What is wrong with a grid; the caller adds where it was found."""


def grid_of(value: Any) -> Grid:
    """A grid from JSON's lists of lists of integers.

    Raises:
        BadGrid: it is not a rectangle of colours 0 to 9 with 1 to 30 rows and columns.
    """
    if not isinstance(value, list | tuple) or not value:
        raise BadGrid("is not a non-empty list of rows")
    if len(value) > MAX_SIDE:
        raise BadGrid(f"has {len(value)} rows, more than {MAX_SIDE}")
    for at, row in enumerate(value):
        if not isinstance(row, list | tuple) or not row:
            raise BadGrid(f"row {at} is not a non-empty list of cells")
        if len(row) > MAX_SIDE:
            raise BadGrid(f"row {at} has {len(row)} cells, more than {MAX_SIDE}")
        if len(row) != len(value[0]):
            raise BadGrid(f"row {at} has {len(row)} cells, row 0 has {len(value[0])}")
        for column, cell in enumerate(row):
            if type(cell) is not int or not 0 <= cell < COLOURS:
                raise BadGrid(f"row {at}, column {column} holds {cell!r:.20}, not a whole number from 0 to 9")
    return tuple(tuple(row) for row in value)


def grid_from_json(text: str) -> Grid | None:
    """The grid that a JSON text holds; None where it holds none."""
    try:
        return grid_of(json.loads(text))
    except (ValueError, RecursionError):
        return None


def fits(grid: Grid) -> bool:
    """Whether no side is longer than 30."""
    return len(grid) <= MAX_SIDE and len(grid[0]) <= MAX_SIDE


@dataclass(frozen=True)
class Pair:
    """A demonstration: what goes in, and what comes out."""

    input: Grid
    output: Grid


@dataclass(frozen=True)
class Puzzle:
    """One ARC task: its demonstrations, its test inputs, and their solutions (parallel to the inputs)."""

    id: str
    demos: tuple[Pair, ...]
    tests: tuple[Grid, ...]
    solutions: tuple[Grid, ...]

    def subtask(self, index: int) -> str:
        """The name of one test input, as in ARC submissions: ``{id}-{index}``."""
        return f"{self.id}-{index}"


@dataclass(frozen=True)
class Lesson:
    """One question in a context of demonstrations: a training example, or (with an empty answer) a prompt."""

    demos: tuple[Pair, ...]
    test: Pair

    def grids(self) -> Iterator[Grid]:
        """Every grid, the demonstrations' first."""
        for pair in (*self.demos, self.test):
            yield pair.input
            yield pair.output

    def with_demos(self, demos: tuple[Pair, ...]) -> Lesson:
        return replace(self, demos=demos)
