"""Every augmenter is undone by its inverse, and does what numpy's function of that name does."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.tasks.arc import BadGrid, Grid
from harness.tasks.arc.augment import GROUPS, NAMED, Augmenter, draw_colours, draw_order, group, translation
from harness.tasks.arc.grid import Lesson, Pair
from harness.tasks.arc.load import read_puzzles
from tests.arc.strategies import grids, lessons
from tests.shared_data import shared

SHARES = st.floats(0, 1, exclude_max=True)


def augmenters(seed: int) -> list[Augmenter]:
    rng = random.Random(seed)
    return [one for name in GROUPS for one in group(name, rng)]


@given(grids(side=30), st.integers(0, 2**31))
def test_inverses_restore_every_grid(grid: Grid, seed: int) -> None:
    for one in [*augmenters(seed), *NAMED.values(), draw_colours([grid], random.Random(seed))]:
        assert one.inverse(one.forward(grid)) == grid, one.name


@given(grids(), SHARES, SHARES)
def test_translation_is_a_roll_by_less_than_four(grid: Grid, down: float, right: float) -> None:
    rows, columns = int(down * min(4, len(grid))), int(right * min(4, len(grid[0])))
    rolled = np.roll(np.array(grid), (rows, columns), (0, 1))
    assert np.array_equal(np.array(translation(down, right).forward(grid)), rolled)


@pytest.mark.parametrize("seed", range(2))
def test_inverses_restore_real_tasks(seed: int) -> None:
    """Every grid of every tenth real task, through each of the 23 augmenters."""
    for puzzles in read_puzzles(str(shared("arc"))).values():
        for puzzle in puzzles[seed::10]:
            found = [*augmenters(seed), draw_colours(puzzle.tests, random.Random(seed))]
            for grid in (*puzzle.tests, *(pair.output for pair in puzzle.demos)):
                assert all(one.inverse(one.forward(grid)) == grid for one in found)


@given(grids())
def test_the_turns_are_numpys(grid: Grid) -> None:
    array = np.array(grid)
    expected = {
        "rotate90": np.rot90(array),
        "rotate180": np.rot90(array, 2),
        "rotate270": np.rot90(array, 3),
        "flip0": np.flip(array, 0),
        "flip1": np.flip(array, 1),
        "transpose": array.T,
        "reflect0": np.concatenate([array, np.flip(array, 0)], 0),
        "reflect-first1": np.concatenate([np.flip(array, 1), array], 1),
        "resolution": array.repeat(2, 0).repeat(2, 1),
        "resolution0": array.repeat(2, 0),
        "rotate90+resolution": np.rot90(array).repeat(2, 0).repeat(2, 1),
        "repeat": np.tile(array, (2, 2)),
        "repeat1": np.tile(array, (1, 2)),
    }
    for name, value in expected.items():
        assert np.array_equal(np.array(NAMED[name].forward(grid)), value), name


def test_an_answer_that_no_augmentation_makes_has_no_original() -> None:
    for name in ("repeat0", "resolution", "reflect1", "transpose+resolution"):
        with pytest.raises(BadGrid):
            NAMED[name].inverse(((1, 2, 3),))


def test_there_are_23_in_four_groups() -> None:
    assert [len(group(name, random.Random(0))) for name in GROUPS] == [11, 3, 6, 3]
    assert len({one.name for one in augmenters(0)}) == 23


def test_what_grows_beyond_30_is_dropped() -> None:
    wide = ((0,) * 16,)
    lesson = Lesson((), Pair(((1,),), wide))
    assert NAMED["repeat0"].fitting(lesson) is not None
    assert NAMED["repeat1"].fitting(lesson) is None


@given(lessons, st.integers(0, 2**31))
def test_recolouring_keeps_black_and_confuses_no_colours(lesson: Lesson, seed: int) -> None:
    made = draw_colours(lesson.grids(), random.Random(seed))
    images = made.forward((tuple(range(10)),))[0]
    assert images[0] == 0
    assert sorted(images) == list(range(10))
    used = {cell for grid in lesson.grids() for row in grid for cell in row} - {0}
    fresh = sum(images[colour] not in used for colour in used)
    assert fresh == min(len(used), 9 - len(used))


@given(lessons, st.integers(0, 2**31))
def test_reordering_keeps_the_demonstrations(lesson: Lesson, seed: int) -> None:
    shown = draw_order(lesson, random.Random(seed))
    assert shown.test == lesson.test
    assert sorted(map(repr, shown.demos)) == sorted(map(repr, lesson.demos))


def test_recolouring_changes_grids_in_which_all_colours_occur() -> None:
    """Swapped in pairs, as in the release: eight of the nine colours change, and black stays."""
    grid = ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))
    for seed in range(50):
        made = draw_colours([grid], random.Random(seed))
        images = dict(
            zip((c for row in grid for c in row), (c for row in made.forward(grid) for c in row), strict=True)
        )
        assert images[0] == 0
        assert sum(images[c] != c for c in range(1, 10)) == 8
        assert all(images[images[c]] == c for c in images)
        assert made.inverse(made.forward(grid)) == grid
