"""Few-shot grid puzzles: ARC-AGI, and the pieces from which other tasks of grid puzzles are made."""

from __future__ import annotations

from harness.tasks.arc.grid import BadGrid, Grid, Lesson, Pair, Puzzle
from harness.tasks.arc.load import puzzle_of
from harness.tasks.arc.task import Arc, GridTask
from harness.tasks.arc.text import FORMS, GridText

__all__ = ["FORMS", "Arc", "BadGrid", "Grid", "GridTask", "GridText", "Lesson", "Pair", "Puzzle", "puzzle_of"]
