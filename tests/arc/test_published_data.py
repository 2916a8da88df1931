"""Test-time-training data against the published augmentation, which is written here once more with numpy alone.

The release draws its recolouring, order and shift from one generator and keeps sets, so its sequences differ from
process to process; what can agree is compared: every lesson that involves no draw, exactly, and of the rest what was
drawn from.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from harness.tasks.arc.augment import GROUPS
from harness.tasks.arc.grid import Grid, Lesson, Pair
from harness.tasks.arc.load import read_puzzles, select
from harness.tasks.arc.ttt import TttArgs, training_lessons
from tests.shared_data import shared

Array = Any
Turn = Callable[[Array], Array]


def both(change: Callable[[Array, int], Array]) -> Turn:
    return lambda grid: change(change(grid, 0), 1)


def larger(grid: Array, axis: int) -> Array:
    return np.repeat(grid, 2, axis=axis)


def tiled(grid: Array, axis: int) -> Array:
    return np.concatenate([grid, grid], axis=axis)


def mirrored(axis: int, first: bool) -> Turn:
    def change(grid: Array) -> Array:
        parts = [np.flip(grid, axis), grid] if first else [grid, np.flip(grid, axis)]
        return np.concatenate(parts, axis=axis)

    return change


SQUARE: list[Turn] = [
    lambda g: np.rot90(g, 1), lambda g: np.rot90(g, 3), lambda g: np.rot90(g, 2), lambda g: np.flip(g, 0),
    lambda g: np.flip(g, 1), np.transpose,
]  # fmt: skip
PUBLISHED: dict[str, list[Turn]] = {
    "basic": [*SQUARE, *(mirrored(axis, first) for axis in (0, 1) for first in (True, False))],
    "size": [both(larger), lambda g: larger(g, 0), lambda g: larger(g, 1)],
    "chain": [lambda g, turn=turn: both(larger)(turn(g)) for turn in SQUARE],  # type: ignore[misc]
    "repeat": [lambda g: tiled(g, 0), lambda g: tiled(g, 1), both(tiled)],
}


def lessons_without_draws(demos: Sequence[Pair], chosen: Sequence[str]) -> set[Lesson]:
    """Leave one and two out: each lesson as it is, and under every fixed augmentation that stays within 30 cells."""
    plain: list[tuple[tuple[Pair, ...], Pair]] = []
    for at, test in enumerate(demos):
        others = [pair for place, pair in enumerate(demos) if place != at]
        plain.append((tuple(others), test))
        plain += [(tuple(pair for pair in others if pair is not gone), test) for gone in others]
    made = set()
    for turn in [np.asarray, *(turn for name in chosen for turn in PUBLISHED[name])]:
        for context, test in plain:
            lesson = Lesson(tuple(turned(turn, pair) for pair in context), turned(turn, test))
            if max(side for grid in lesson.grids() for side in (len(grid), len(grid[0]))) <= 30:
                made.add(lesson)
    return made


def turned(turn: Turn, pair: Pair) -> Pair:
    def one(grid: Grid) -> Grid:
        return tuple(tuple(int(cell) for cell in row) for row in turn(np.array(grid)))

    return Pair(one(pair.input), one(pair.output))


def shape_of(lesson: Lesson) -> tuple[Any, ...]:
    """What recolouring and reordering leave: each grid with its colours numbered as they first occur, black kept."""

    def numbered(pairs: Sequence[Pair]) -> tuple[Any, ...]:
        names = {0: 0}
        return tuple(
            tuple(tuple(names.setdefault(cell, len(names)) for cell in row) for row in grid)
            for pair in pairs
            for grid in (pair.input, pair.output)
        )

    return numbered((lesson.test,)), tuple(sorted(numbered((lesson.test, pair)) for pair in lesson.demos))


def check(demos: Sequence[Pair], chosen: Sequence[Any]) -> None:
    lessons = training_lessons(demos, TttArgs(augment=tuple(chosen)), random.Random(3))
    expected = lessons_without_draws(demos, chosen)
    assert expected <= set(lessons)
    if "basic" in chosen:  # a cyclic shift is drawn there, so lessons have shapes beyond the fixed ones
        return
    shapes = {shape_of(lesson) for lesson in expected}
    assert {shape_of(lesson) for lesson in lessons} == shapes


@pytest.mark.parametrize("chosen", [[], ["size"], ["chain"], ["repeat"], ["size", "repeat"], list(GROUPS)], ids=str)
def test_a_made_puzzle(chosen: list[str]) -> None:
    rng = random.Random(1)

    def grid(rows: int, columns: int) -> Grid:
        return tuple(tuple(rng.randrange(10) for _ in range(columns)) for _ in range(rows))

    check([Pair(grid(2, 3), grid(3, 2)), Pair(grid(4, 4), grid(1, 16)), Pair(grid(3, 5), grid(2, 2))], chosen)


@pytest.mark.parametrize("subset", ["seal-train", "seal-eval"])
def test_the_published_puzzles(subset: str) -> None:
    for puzzle in select(read_puzzles(str(shared("arc"))), subset)[:3]:
        for chosen in ([], ["chain"], list(GROUPS)):
            check(puzzle.demos, chosen)


def test_recolouring_doubles_the_data_where_all_colours_occur() -> None:
    """One published training puzzle has all nine; it used to get half of its sequences."""
    found = 0
    for puzzle in select(read_puzzles(str(shared("arc"))), "seal-train"):
        colours = {cell for pair in puzzle.demos for grid in (pair.input, pair.output) for row in grid for cell in row}
        if colours >= set(range(1, 10)):
            found += 1
            fixed = training_lessons(puzzle.demos, TttArgs(augment=("size",), permute_n=0), random.Random(0))
            both_kinds = training_lessons(puzzle.demos, TttArgs(augment=("size",)), random.Random(0))
            assert len(both_kinds) == 2 * len(fixed)
    assert found
