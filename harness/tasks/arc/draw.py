"""Grids in the terminal, in the colours of the ARC editor, or as digits where there is no colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.escape import terminal
from harness.tasks.arc.grid import Grid

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PALETTE = ("#000000", "#0074d9", "#ff4136", "#2ecc40", "#ffdc00", "#aaaaaa", "#f012be", "#ff851b", "#7fdbff", "#870c25")
"""CSS colours of the cell values 0 to 9."""


def draw(grid: Grid, colour: bool) -> Text:
    """Two characters per cell: a block of its colour, or its digit."""
    from rich.text import Text

    out = Text(no_wrap=True)
    for at, row in enumerate(grid):
        out.append("\n" if at else "")
        for cell in row:
            if colour:
                out.append("  ", style=f"on {PALETTE[cell]}")
            else:
                out.append(f"{cell} ")
    return out


def print_grids(console: Console, title: str, grids: Sequence[tuple[str, Grid | None]]) -> None:
    """Captioned grids side by side, or one below the other where they are too wide; None is drawn as a dash."""
    from rich.table import Table
    from rich.text import Text

    colour = console.color_system is not None
    shown = [(caption, Text("–") if grid is None else draw(grid, colour)) for caption, grid in grids]
    console.print(Text(terminal(title), style="bold"))
    width = sum(max(len(caption), 2 * len(grid[0]) if grid else 1) + 3 for caption, grid in grids)
    if width > console.width:
        for caption, drawn in shown:
            console.print(Text(caption, style="dim"))
            console.print(drawn, soft_wrap=True)
    else:
        table = Table.grid(padding=(0, 3, 0, 0))
        table.add_row(*(Text(caption, style="dim") for caption, _ in shown))
        table.add_row(*(drawn for _, drawn in shown))
        console.print(table)
    console.print()
