"""What several sections of a run's page are made of."""

from __future__ import annotations

from harness.escape import html
from harness.evidence.result import Row
from harness.evidence.view.data import Shown


def chip(row: Shown) -> str:
    """A row's name with its colour."""
    return f'<span class="chip" style="--of:{colour(row)}">{html(row.label)}</span>'


def colour(row: Shown) -> str:
    """A row's colour, for a style sheet."""
    return f"var(--c{row.colour})"


def row_of(row: Shown) -> Row:
    """The row of the result file that is shown."""
    return next(one for one in row.run.found.rows if one.method == row.method)


def scrolling(table: str) -> str:
    """A table that scrolls within the page, with the keyboard too."""
    return f'<div class="scroll" tabindex="0">{table}</div>'
