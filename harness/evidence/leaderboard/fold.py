"""One row per method, model and conditions: a method that was run again does not appear on the board twice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.evidence.leaderboard.summary import Entry, tables, why_unranked


@dataclass(frozen=True)
class Folded:
    """An older run of a method that the board shows once."""

    run: str
    score: float | None
    """A fraction; None where nothing was measured."""
    seeds: int


def fold(entries: Sequence[Entry]) -> list[tuple[Entry, tuple[Folded, ...]]]:
    """The entries that are shown, each with its other runs under the same conditions, the newest first.

    The newest that may have a rank is shown: a quick run of one seed does not take the place of a whole one. Runs are
    dated by their names, which start with the time. Published rows stand as they were published.
    """
    groups: dict[object, list[Entry]] = {}
    for place, entry in enumerate(entries):
        found, row = entry.found, entry.row
        alone = place if found.kind == "published" else -1
        groups.setdefault((alone, row.method, row.plugin, found.model.name, entry.group), []).append(entry)
    out = []
    for same in groups.values():
        same.sort(key=lambda entry: _natural(entry.found.run), reverse=True)
        shown = next((entry for entry in same if len(same) > 1 and _may_rank(entry)), same[0])
        out.append((shown, tuple(_folded(entry) for entry in same if entry is not shown)))
    return out


def _may_rank(entry: Entry) -> bool:
    return not why_unranked(entry.row, tables(entry.found.task, entry.row) if entry.row.scored else None)


def _folded(entry: Entry) -> Folded:
    score = tables(entry.found.task, entry.row).mean if entry.row.scored else None
    return Folded(entry.found.run, score, len(entry.row.seeds))


def _natural(run: str) -> list[tuple[int, str]]:
    """``run-10`` after ``run-9``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", run)]
