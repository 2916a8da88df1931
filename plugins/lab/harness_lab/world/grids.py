"""Generated grid puzzles in ARC form: at most 6x6, at most three demonstrations, one transformation per task.

Families used in pre-training and in the train split are disjoint from those of the test split (`HELD_OUT`).
"""

import random
from collections.abc import Callable
from typing import Any, Literal

GRIDS_VERSION = "grids-1"

Grid = list[list[int]]
Change = Callable[[Grid], Grid]
MAX_SIDE = 6
MAX_DEMOS = 3


def flip_rows(grid: Grid) -> Grid:
    return [row[::-1] for row in grid]


def flip_columns(grid: Grid) -> Grid:
    return [list(row) for row in grid[::-1]]


def transpose(grid: Grid) -> Grid:
    return [list(column) for column in zip(*grid, strict=True)]


def shift_right(grid: Grid) -> Grid:
    return [row[-1:] + row[:-1] for row in grid]


def shift_down(grid: Grid) -> Grid:
    return [list(row) for row in grid[-1:] + grid[:-1]]


def recolour(mapping: dict[int, int]) -> Change:
    return lambda grid: [[mapping.get(cell, cell) for cell in row] for row in grid]


def _swap(rng: random.Random, colours: list[int]) -> Change:
    a, b = rng.sample(colours, 2)
    return recolour({a: b, b: a})


def _paint(rng: random.Random, colours: list[int]) -> Change:
    a = rng.choice(colours)
    return recolour({a: rng.choice([c for c in range(10) if c != a])})


def _keep(rng: random.Random, colours: list[int]) -> Change:
    kept = rng.choice(colours)
    return lambda grid: [[cell if cell == kept else 0 for cell in row] for row in grid]


def _two_paints(rng: random.Random, colours: list[int]) -> Change:
    a, b = rng.sample(colours, 2)
    new = rng.sample([c for c in range(10) if c not in (a, b)], 2)
    return recolour({a: new[0], b: new[1]})


def _merge(rng: random.Random, colours: list[int]) -> Change:
    a, b = rng.sample(colours, 2)
    new = rng.choice([c for c in range(10) if c not in colours])
    return recolour({a: new, b: new})


def _then(*parts: Change) -> Change:
    def run(grid: Grid) -> Grid:
        for part in parts:
            grid = part(grid)
        return grid

    return run


# name -> makes the change from (random stream, the colours that the task's grids use)
TRAINED: dict[str, Callable[[random.Random, list[int]], Change]] = {
    "flip-rows": lambda rng, colours: flip_rows,
    "flip-columns": lambda rng, colours: flip_columns,
    "transpose": lambda rng, colours: transpose,
    "half-turn": lambda rng, colours: _then(flip_rows, flip_columns),
    "shift-right": lambda rng, colours: shift_right,
    "shift-down": lambda rng, colours: shift_down,
    "swap": _swap,
    "paint": _paint,
    "keep": _keep,
}
HELD_OUT: dict[str, Callable[[random.Random, list[int]], Change]] = {
    "two-paints": _two_paints,
    "flip-rows-paint": lambda rng, colours: _then(flip_rows, _paint(rng, colours)),
    "flip-columns-swap": lambda rng, colours: _then(flip_columns, _swap(rng, colours)),
    "shift-left": lambda rng, colours: lambda grid: [row[1:] + row[:1] for row in grid],
    "quarter-turn": lambda rng, colours: _then(flip_columns, transpose),
    "shift-right-paint": lambda rng, colours: _then(shift_right, _paint(rng, colours)),
}
# Rules that only change colours, in all splits; pre-training had the first. Whether the lab model learns them at test
# time depends on how it is trained.
COLOURS: dict[str, Callable[[random.Random, list[int]], Change]] = {"paint": _paint, "merge": _merge}

Rules = Literal["all", "colours"]


def task(
    rng: random.Random, family: str, *, demos: int = MAX_DEMOS, rows: int | None = None, columns: int | None = None
) -> dict[str, list[dict[str, Grid]]]:
    """One ARC task: `train` pairs and one `test` pair, with different inputs of the same size (2 to 6 a side)."""
    rows = rows or rng.randint(2, MAX_SIDE)
    columns = columns or rng.randint(2, MAX_SIDE)
    colours = rng.sample(range(10), rng.randint(3, 4))
    change = (TRAINED | HELD_OUT | COLOURS)[family](rng, colours)
    pairs: list[dict[str, Grid]] = []
    while len(pairs) <= demos:
        grid = [[rng.choice(colours) for _ in range(columns)] for _ in range(rows)]
        # Every grid shows the change and contains every colour, so that each demonstration is evidence.
        if change(grid) == grid or ({c for row in grid for c in row} != set(colours) and rows * columns > 5):
            continue
        if all(grid != pair["input"] for pair in pairs):
            pairs.append({"input": grid, "output": change(grid)})
    return {"train": pairs[:-1], "test": pairs[-1:]}


def arc_files(
    count: int, seed: int, split: Literal["train", "validation", "test"], rules: Rules = "all"
) -> tuple[dict[str, Any], dict[str, list[Grid]]]:
    """`count` different tasks of 2 to 4 cells a side as ARC challenges and solutions, with families in turn.

    The test split has the held-out families, the others those of pre-training. With the rules `colours` all splits have
    two families that only change colours, and grids have 2 or 3 rows of 3 cells, room for every colour in each of them.
    """
    families, sides, stream = list(HELD_OUT if split == "test" else TRAINED), (2, 4), f"{GRIDS_VERSION}/{seed}/{split}"
    if rules == "colours":
        families, sides, stream = list(COLOURS), (3, 3), f"{stream}/colours"
    rng = random.Random(stream)
    challenges: dict[str, Any] = {}
    solutions: dict[str, list[Grid]] = {}
    while len(challenges) < count:
        index = len(challenges)
        family = families[index % len(families)]
        made = task(rng, family, rows=rng.randint(2, sides[1]), columns=rng.randint(*sides))
        name = f"{split}-{seed}-{index:03d}-{family}"
        challenges[name] = {"train": made["train"], "test": [{"input": made["test"][0]["input"]}]}
        solutions[name] = [made["test"][0]["output"]]
    return challenges, solutions
