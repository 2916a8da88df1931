"""Our figures beside the published ones: the difference, its interval, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness import stats
from harness.errors import UsageError
from harness.evidence.conditions import describe, differing, groups
from harness.evidence.leaderboard.summary import tables
from harness.evidence.result import ResultFile
from harness_replay.reproduce.tables import PublishedRow, PublishedTable

Verdict = Literal["agrees", "higher", "lower", "cannot tell", "not measured", "nothing published"]
_Z = 1.96
MARGIN = 5.0
"""Half the width, in points, up to which an interval that holds 0 is agreement; a wider one cannot tell."""


@dataclass(frozen=True)
class Line:
    """A row of the printed table. Figures are in points, or in the table's unit; None where there is none."""

    called: str
    arm: str
    table: str
    published: float | None
    ours: float | None
    low: float | None
    high: float | None
    """95% interval of our figure."""
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    verdict: Verdict
    note: str = ""


def beside(found: ResultFile, table: PublishedTable, panel: str = "") -> list[Line]:
    """One line per row of the published table.

    The published figure's standard error is taken to be that of ours, scaled to its number of queries: both are of the
    same design, and most logs are not public. The two are treated as independent, which is conservative where the items
    are the same. Both leave out what another training run would change, unless ours has several seeds.
    """
    return [_line(found, row, table) for row in table.rows(panel)]


def _line(found: ResultFile, row: PublishedRow, table: PublishedTable) -> Line:
    called = row.called or row.arm
    try:
        view = found.of_table(row.table)
    except UsageError:
        view = None
    mine = next((one for one in view.rows if one.method == row.arm), None) if view else None
    if view is None or mine is None or not mine.scored:
        blank = (None, None, None, None, None, None)
        return Line(called, row.arm, row.table, row.score, *blank, "not measured", row.note)
    # A figure per sequence has a context with one query of its own, so that both averages are the same.
    scores = tables(view.task, mine, table.average)
    scale = 1.0 if view.task.unit else 100.0
    ours = scale * scores.mean
    spread = stats.mean_interval(scores, bounded=not view.task.unit)
    low, high = (scale * spread.low, scale * spread.high) if spread else (None, None)
    shown = (called, row.arm, row.table, row.score, ours, low, high)
    if row.score is None:
        return Line(*shown, None, None, None, "nothing published", row.note)
    difference = ours - row.score
    if low is None or high is None:
        return Line(*shown, difference, None, None, "cannot tell", row.note)
    se = (high - low) / (2 * _Z)
    half = _Z * math.hypot(se, se * math.sqrt(view.task.queries / (row.queries or table.size.queries)))
    said: Verdict = "agrees" if half <= MARGIN else "cannot tell"
    if abs(difference) > half:
        said = "higher" if difference > 0 else "lower"
    return Line(*shown, difference, difference - half, difference + half, said, row.note)


def together(found: ResultFile) -> str:
    """A sentence on whether all rows of the headline rank together, and if not, in what they differ."""
    sets = groups(found.rows)
    if len(sets) == 1:
        return f"all {len(found.rows)} rows were made under the same conditions and rank together"
    first = sets[0][0]
    said = []
    for other in sets[1:]:
        fields = differing(first.conditions, other[0].conditions)
        what = ", ".join(describe((found, first), (found, other[0]), fields))
        said.append(f"{', '.join(row.method for row in other)}: {what}")
    return f"rows do not all rank together; against {first.method}: {'; '.join(said)}"


def incomplete(found: ResultFile) -> Sequence[str]:
    """Methods of which a score is missing."""
    return [row.method for row in found.rows if not row.complete]
