"""The text forms in which models read and write grids.

``numpy`` is the published one (the second format of Akyürek et al., arXiv 2411.07279, which SEAL uses): grids as numpy
prints them, demonstrations as ``input -> output#`` lines. ``compact`` is meant for small models: one row per line,
single digits with spaces between, in ``Input:`` / ``Output:`` blocks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from harness.api import Prompt
from harness.tasks.arc.grid import BadGrid, Grid, Pair, grid_of

INTRODUCTION = (
    "Each example below turns one grid into another by the same rule. Find the rule and apply it to the last grid. "
    "Grids are written as arrays of numbers from 0 to 9."
)


@runtime_checkable
class GridText(Protocol):
    """A text form of grids."""

    stop: tuple[str, ...]
    """What ends an answer."""

    def grid(self, grid: Grid, /) -> str: ...

    def demos(self, demos: Sequence[Pair], /) -> str:
        """Demonstrations on their own, as an editor's prompt shows them."""
        ...

    def prompt(self, demos: Sequence[Pair], test: Grid, /, *, chat: bool) -> Prompt:
        """The question; the expected continuation is :meth:`answer` of the solution."""
        ...

    def answer(self, grid: Grid, /) -> str: ...

    def parse(self, text: str, /) -> Grid:
        """The grid that an answer states.

        Raises:
            BadGrid: the text is anything but one grid.
        """
        ...


class NumpyText:
    """Grids as numpy prints them; the published form."""

    stop: tuple[str, ...] = ("#",)

    def grid(self, grid: Grid, /) -> str:
        return "[" + "\n ".join("[" + " ".join(map(str, row)) + "]" for row in grid) + "]"

    def demos(self, demos: Sequence[Pair], /) -> str:
        return _blocks(demos)

    def prompt(self, demos: Sequence[Pair], test: Grid, /, *, chat: bool) -> Prompt:
        # A raw prompt must not end in a space: tokenizers attach it to what follows.
        arrow = " -> " if chat else " ->\n"
        lines = [INTRODUCTION, *(f"{self.grid(pair.input)}{arrow}{self.grid(pair.output)}#" for pair in demos)]
        shown, question = "\n".join(lines), f"{self.grid(test)}{arrow}"
        return (("system", shown), ("user", question)) if chat else f"{shown}\n{question}"

    def answer(self, grid: Grid, /) -> str:
        return self.grid(grid) + "#"

    def parse(self, text: str, /) -> Grid:
        text = text.partition("#")[0].strip()
        if not re.fullmatch(r"\[\s*\[[\s\d\[\],]*\]\s*\]", text):
            raise BadGrid("is not an array of rows")
        rows = text[1:-1].strip()
        if not re.fullmatch(r"\[[^\[\]]*\](?:\s*,?\s*\[[^\[\]]*\])*", rows):
            raise BadGrid("is not an array of rows")
        return grid_of([_cells(row) for row in re.findall(r"\[([^\[\]]*)\]", rows)])


class CompactText:
    """One row per line, digits with spaces between."""

    stop: tuple[str, ...] = ("\n\n",)

    def grid(self, grid: Grid, /) -> str:
        return _rows(grid)

    def demos(self, demos: Sequence[Pair], /) -> str:
        return _blocks(demos)

    def prompt(self, demos: Sequence[Pair], test: Grid, /, *, chat: bool) -> Prompt:
        before = _blocks(demos) + "\n\n" if demos else ""
        text = f"{before}Input:\n{_rows(test)}\nOutput:\n"
        return (("user", text),) if chat else text

    def answer(self, grid: Grid, /) -> str:
        return _rows(grid)

    def parse(self, text: str, /) -> Grid:
        body = text.strip().partition("\n\n")[0]
        return grid_of([_cells(line) for line in body.split("\n")])


FORMS: Mapping[str, GridText] = MappingProxyType({"numpy": NumpyText(), "compact": CompactText()})
"""The text forms by name, as a task's setting ``text`` gives it."""


def _rows(grid: Grid) -> str:
    return "\n".join(" ".join(map(str, row)) for row in grid)


def _blocks(demos: Sequence[Pair]) -> str:
    return "\n\n".join(f"Input:\n{_rows(pair.input)}\nOutput:\n{_rows(pair.output)}" for pair in demos)


def _cells(text: str) -> list[int]:
    cells = re.split(r"[\s,]+", text.strip())
    if not all(re.fullmatch(r"[0-9]", cell) for cell in cells):
        raise BadGrid(f"row {text.strip()!r:.40} holds more than single digits with spaces between")
    return [int(cell) for cell in cells]
