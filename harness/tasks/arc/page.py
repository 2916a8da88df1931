"""One self-contained HTML page of puzzles: demonstrations, test inputs, what was answered, and the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.escape import html
from harness.tasks.arc.draw import PALETTE
from harness.tasks.arc.grid import Grid, Puzzle, grid_from_json

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222; }
.row { display: flex; flex-wrap: wrap; gap: 1.5em; align-items: flex-start; margin: .6em 0 1.4em; }
figure { margin: 0; } figcaption { color: #666; font-size: 13px; margin-bottom: .2em; }
.right { color: #176d2c; } .wrong, .failed { color: #a3231b; }
"""


def page(title: str, puzzles: Iterable[tuple[Puzzle, Sequence[Mapping[str, Any]]]]) -> str:
    """The page as HTML text.

    Args:
        puzzles: each with the lines of a run's ``scores`` files that are about it.
    """
    body = "\n".join(_section(puzzle, answered) for puzzle, answered in puzzles)
    head = f'<meta charset="utf-8"><title>{html(title)}</title><style>{_STYLE}</style>'
    body = f"<h1>{html(title)}</h1>\n{body}"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


def svg(grid: Grid) -> str:
    """A drawing of a grid; runs of one colour are one rectangle."""
    cell = max(4, min(20, 200 // max(len(grid), len(grid[0]))))
    width, height = cell * len(grid[0]), cell * len(grid)
    parts = []
    for y, row in enumerate(grid):
        start = 0
        for x in range(1, len(row) + 1):
            if x == len(row) or row[x] != row[start]:
                size = f'x="{start * cell}" y="{y * cell}" width="{(x - start) * cell}" height="{cell}"'
                parts.append(f'<rect {size} fill="{PALETTE[row[start]]}"/>')
                start = x
    lines = "".join(f"M{x * cell} 0V{height}" for x in range(len(grid[0]) + 1))
    lines += "".join(f"M0 {y * cell}H{width}" for y in range(len(grid) + 1))
    label = html("; ".join(" ".join(map(str, row)) for row in grid))
    return (
        f'<svg role="img" aria-label="{label}" width="{width + 1}" height="{height + 1}">'
        f'{"".join(parts)}<path d="{lines}" stroke="#555" fill="none" stroke-width=".5"/></svg>'
    )


def _section(puzzle: Puzzle, answered: Sequence[Mapping[str, Any]]) -> str:
    out = [f"<h2>{html(puzzle.id)}</h2>", "<h3>Demonstrations</h3>"]
    out += [_row([("input", pair.input), ("output", pair.output)]) for pair in puzzle.demos]
    for at, (test, solution) in enumerate(zip(puzzle.tests, puzzle.solutions, strict=True)):
        name = puzzle.subtask(at)
        out += [f"<h3>{html(name)}</h3>", _row([("test input", test), ("solution", solution)])]
        for line in answered:
            if line["query"] == name:
                outcome = "failed" if line.get("status", "ok") != "ok" else "right" if line.get("right") else "wrong"
                said = html(str(line.get("reason") or outcome))
                who = html(f"{line['method']}, seed {line['seed']}, edit {line['sample'] + 1}: ")
                out.append(f'<p>{who}<b class="{outcome}">{said}</b></p>')
                attempts = [
                    (f"attempt {number}", grid_from_json(text)) for number, text in enumerate(line["answers"], 1)
                ]
                out.append(_row([*attempts, ("solution", solution)]) if attempts else "")
    return "\n".join(out)


def _row(grids: Sequence[tuple[str, Grid | None]]) -> str:
    figures = (
        f"<figure><figcaption>{html(caption)}</figcaption>{'–' if grid is None else svg(grid)}</figure>"
        for caption, grid in grids
    )
    return f'<div class="row">{"".join(figures)}</div>'
