"""Augmentations of grids, each with its inverse (Akyürek et al., arXiv 2411.07279; SEAL B.4).

An augmenter acts on one grid; a puzzle is augmented by applying it to every input and every output. The inverse turns
an answer back, so that votes on differently augmented questions can be counted together.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness.tasks.arc.grid import COLOURS, BadGrid, Grid, Lesson, Pair, fits

Change = Callable[[Grid], Grid]


@dataclass(frozen=True)
class Augmenter:
    """``inverse(forward(g)) == g`` for every grid; ``inverse`` raises BadGrid for what ``forward`` cannot make."""

    name: str
    forward: Change
    inverse: Change

    def lesson(self, lesson: Lesson) -> Lesson:
        """The lesson with every grid changed."""

        def pair(one: Pair) -> Pair:
            return Pair(self.forward(one.input), self.forward(one.output))

        return Lesson(tuple(map(pair, lesson.demos)), pair(lesson.test))

    def fitting(self, lesson: Lesson) -> Lesson | None:
        """The lesson with every grid changed; None where a side grows beyond 30."""
        changed = self.lesson(lesson)
        return changed if all(map(fits, changed.grids())) else None

    def then(self, second: Augmenter) -> Augmenter:
        return Augmenter(
            f"{self.name}+{second.name}",
            lambda grid: second.forward(self.forward(grid)),
            lambda grid: self.inverse(second.inverse(grid)),
        )


# --- changes of shape and place ------------------------------------------------------------------------------------


def _rotate90(grid: Grid) -> Grid:
    """A quarter turn anticlockwise, as ``numpy.rot90``."""
    return tuple(zip(*grid, strict=True))[::-1]


def _rotate180(grid: Grid) -> Grid:
    return tuple(row[::-1] for row in grid[::-1])


def _rotate270(grid: Grid) -> Grid:
    return tuple(zip(*grid[::-1], strict=True))


def _transpose(grid: Grid) -> Grid:
    return tuple(zip(*grid, strict=True))


def _flip0(grid: Grid) -> Grid:
    return grid[::-1]


def _flip1(grid: Grid) -> Grid:
    return tuple(row[::-1] for row in grid)


def _by_columns(change: Change) -> Change:
    """The change with rows and columns exchanged."""
    return lambda grid: _transpose(change(_transpose(grid)))


def _half(grid: Grid, made: Change, keep: slice) -> Grid:
    """The grid that ``made`` turns into this one; BadGrid where there is none."""
    original = grid[keep]
    if not original or made(original) != grid:
        raise BadGrid("does not have the form that the augmentation gives")
    return original


def _enlarged(name: str, made: Change, keep: Callable[[int], slice]) -> Augmenter:
    return Augmenter(name, made, lambda grid: _half(grid, made, keep(len(grid))))


def _both_axes(name: str, made: Change, keep: Callable[[int], slice]) -> tuple[Augmenter, Augmenter, Augmenter]:
    """An enlarging change along the rows (axis 0), along the columns (axis 1), and both."""
    rows = _enlarged(f"{name}0", made, keep)
    columns = Augmenter(f"{name}1", _by_columns(rows.forward), _by_columns(rows.inverse))
    both = rows.then(columns)
    return rows, columns, Augmenter(name, both.forward, both.inverse)


def _doubled(grid: Grid) -> Grid:
    return tuple(row for row in grid for _ in range(2))


IDENTITY = Augmenter("identity", lambda grid: grid, lambda grid: grid)
ROTATE90 = Augmenter("rotate90", _rotate90, _rotate270)
ROTATE180 = Augmenter("rotate180", _rotate180, _rotate180)
ROTATE270 = Augmenter("rotate270", _rotate270, _rotate90)
TRANSPOSE = Augmenter("transpose", _transpose, _transpose)
FLIP0 = Augmenter("flip0", _flip0, _flip0)
FLIP1 = Augmenter("flip1", _flip1, _flip1)
REFLECT0, REFLECT1, _ = _both_axes("reflect", lambda grid: grid + grid[::-1], lambda n: slice(0, n // 2))
REFLECT0_FIRST, REFLECT1_FIRST, _ = _both_axes(
    "reflect-first", lambda grid: grid[::-1] + grid, lambda n: slice(n // 2, n)
)
HEIGHT, WIDTH, RESOLUTION = _both_axes("resolution", _doubled, lambda n: slice(0, n, 2))
REPEAT0, REPEAT1, REPEAT = _both_axes("repeat", lambda grid: grid + grid, lambda n: slice(0, n // 2))

SQUARE = (ROTATE90, ROTATE270, ROTATE180, FLIP0, FLIP1, TRANSPOSE)
"""The symmetries of the square, except the identity and the reflection in the second diagonal."""

NAMED: Mapping[str, Augmenter] = MappingProxyType(
    {
        one.name: one
        for one in (
            *SQUARE, REFLECT0, REFLECT1, REFLECT0_FIRST, REFLECT1_FIRST,
            RESOLUTION, HEIGHT, WIDTH, *(turn.then(RESOLUTION) for turn in SQUARE), REPEAT0, REPEAT1, REPEAT,
        )
    }
)  # fmt: skip
"""Every augmenter without random choices, by name."""


def translation(down: float, right: float) -> Augmenter:
    """A cyclic shift by 0 to 3 rows and columns: ``down`` and ``right`` in [0, 1) are shares of ``min(4, side)``."""

    def rolled(grid: Grid, sign: int) -> Grid:
        rows = sign * int(down * min(4, len(grid))) % len(grid)
        columns = sign * int(right * min(4, len(grid[0]))) % len(grid[0])
        moved = grid[-rows:] + grid[:-rows] if rows else grid
        return tuple(row[-columns:] + row[:-columns] for row in moved) if columns else moved

    return Augmenter("translate", lambda grid: rolled(grid, 1), lambda grid: rolled(grid, -1))


GROUPS = ("basic", "size", "chain", "repeat")
"""The groups that a configuration switches on and off (SEAL, arXiv 2506.10943, section 3.2)."""


def group(name: str, rng: random.Random) -> tuple[Augmenter, ...]:
    """The augmenters of a group in their fixed order: 11 basic, 3 of size, 6 chained, 3 repeating."""
    match name:
        case "basic":
            turns = (ROTATE90, ROTATE270, ROTATE180, FLIP0, FLIP1)
            mirrors = (REFLECT0_FIRST, REFLECT1_FIRST, REFLECT0, REFLECT1)
            return (*turns, *mirrors, translation(rng.random(), rng.random()), TRANSPOSE)
        case "size":
            return (RESOLUTION, HEIGHT, WIDTH)
        case "chain":
            return tuple(turn.then(RESOLUTION) for turn in SQUARE)
        case "repeat":
            return (REPEAT0, REPEAT1, REPEAT)
    raise KeyError(name)


# --- changes of colour and order -----------------------------------------------------------------------------------


def recolouring(images: tuple[int, ...]) -> Augmenter:
    """Colour ``c`` becomes ``images[c]``; ``images`` is a permutation of 0 to 9."""
    back = tuple(images.index(colour) for colour in range(COLOURS))

    def through(table: tuple[int, ...]) -> Change:
        return lambda grid: tuple(tuple(table[cell] for cell in row) for row in grid)

    return Augmenter("recolour", through(images), through(back))


def draw_colours(grids: Iterable[Grid], rng: random.Random) -> Augmenter:
    """A random colour permutation that keeps 0 and maps the colours in use to unused ones, as far as these reach.

    Where all nine colours occur, they are swapped in pairs, as in the release, and the odd one stays.
    """
    seen = {cell for grid in grids for row in grid for cell in row}
    used = [colour for colour in range(1, COLOURS) if colour in seen]
    free = [colour for colour in range(1, COLOURS) if colour not in seen]
    for colours in (used, free):
        rng.shuffle(colours)
    # Colours in use come first on the left, unused ones first on the right: both sides are permutations of 1 to 9.
    mapping = dict(zip(used + free, free + used, strict=True))
    if not free:
        swaps = list(zip(used[::2], used[1::2], strict=False))
        mapping = {**dict(swaps), **{b: a for a, b in swaps}}
    return recolouring(tuple(mapping.get(colour, colour) for colour in range(COLOURS)))


def draw_order(lesson: Lesson, rng: random.Random) -> Lesson:
    """The lesson with its demonstrations in a random order."""
    return lesson.with_demos(tuple(rng.sample(lesson.demos, len(lesson.demos))))
