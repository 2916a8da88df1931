"""The text form in which the lab model reads and writes grids: rows of single digits with spaces between, one row a line.

With the lab tokenizer every cell is one token. The form is the usual one for text-only models on ARC (`Input:` / `Output:` blocks);
both the pre-training documents and the tasks use these functions, so there is one place that decides it.
"""

from collections.abc import Sequence

Grid = Sequence[Sequence[int]]
Pair = tuple[Grid, Grid]


def render_grid(grid: Grid) -> str:
    """Rows of `grid` (colours 0 to 9), one a line, without a newline at the end."""
    return "\n".join(" ".join(str(cell) for cell in row) for row in grid)


def render_demos(demos: Sequence[Pair]) -> str:
    """Demonstrations as `Input:` / `Output:` blocks with a blank line between."""
    return "\n\n".join(f"Input:\n{render_grid(a)}\nOutput:\n{render_grid(b)}" for a, b in demos)


def render_prompt(demos: Sequence[Pair], query: Grid) -> str:
    """Demonstrations, then the query's input; the completion is `render_grid` of the answer."""
    before = render_demos(demos) + "\n\n" if demos else ""
    return f"{before}Input:\n{render_grid(query)}\nOutput:\n"


def parse_grid(text: str) -> list[list[int]] | None:
    """The grid that `text` begins with, up to the first blank line; None if that is no rectangle of digits.

    Rows may come with or without spaces between the digits.
    """
    rows: list[list[int]] = []
    for line in text.strip().split("\n"):
        cells = line.replace(" ", "")
        if not cells:
            break
        if not (cells.isascii() and cells.isdigit()):
            return None
        rows.append([int(cell) for cell in cells])
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        return None
    return rows
