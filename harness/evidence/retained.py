"""Learning against retention: what each row learnt of a context at once, and what is left after the last edit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.evidence.leaderboard.summary import summarise
from harness.evidence.plots import Axis, Point, Series, plot
from harness.evidence.result import ResultFile, Row
from harness.evidence.strengths import Settings, curves, settings

LEARNING, FINAL = "learning", "acc"
"""The tables: R[j, j] and R[T, j], means over j (docs/lasting.md)."""
_OF_THE_METHOD = ("protocol_settings",)
"""Conditions in which methods that are learnt one after another differ by what they are."""

Figure = tuple[float, float | None, float | None]
"""A mean with its interval, in points."""


@dataclass(frozen=True)
class Retained:
    """A row's figures, and what it may be shown beside."""

    run: str
    method: str
    learning: Figure
    final: Figure
    group: str
    """Rows of the same are of the same contexts, asked in the same way."""
    settings: Settings = field(default_factory=dict)


def retained(found: ResultFile) -> list[Retained]:
    """The rows of a run that has both tables, as far as they have a value in both; else nothing."""
    if not {LEARNING, FINAL} <= {table.name for table in found.tables}:
        return []
    rows = {row.method: row for row in found.rows}
    learning, final = ({one.row.method: one for one in summarise(found.of_table(table))} for table in (LEARNING, FINAL))
    out = []
    for method, a in learning.items():
        b = final.get(method)
        if a.score is not None and b is not None and b.score is not None:
            row = rows.get(method, a.row)
            learnt = (a.score, a.low, a.high)  # in points already; the other is a share
            left = (100 * b.score, _points(b.low), _points(b.high))
            out.append(Retained(found.run, method, learnt, left, _group(found, row), settings(found, row)))
    return out


def figures(name: str, shown: Sequence[tuple[str, str, Retained]]) -> list[str]:
    """A ``<figure>`` for every group of two or more rows, which are given as (label, colour, figures).

    Rows that differ in one number alone, as one cure at several strengths, are joined in its order.
    """
    groups: dict[str, list[tuple[str, str, Retained]]] = {}
    for one in shown:
        groups.setdefault(one[2].group, []).append(one)
    return [_figure(f"{name}-{at}", rows) for at, rows in enumerate(groups.values()) if len(rows) > 1]


def _figure(name: str, rows: Sequence[tuple[str, str, Retained]]) -> str:
    points: dict[tuple[str, str], list[Point]] = {}
    for label, colour, one in rows:
        points.setdefault((one.method, colour), []).append(_point(label, one))
    most = max(max(one.learning[0], one.final[0]) for *_, one in rows)
    series = [Series("nothing lost", "var(--faint)", [Point(0, 0, ""), Point(most, most, "")], dots=False)]
    series += [Series(method, colour, mine, line=False) for (method, colour), mine in points.items()]
    for curve in curves([one.settings for *_, one in rows]):
        joined = [rows[place] for place in curve.places]
        values = ", ".join(f"{one.settings[curve.setting]:g}" for *_, one in joined)
        mine = [Point(one.learning[0], one.final[0], "") for *_, one in joined]
        series.append(Series(f"{joined[0][2].method}: {curve.setting} {values}", joined[0][1], mine, dots=False))
    return plot(
        name,
        "Learning against what is left after the last edit, with 95% intervals over sequences. On the line nothing is "
        "lost, below it something is; strengths of one setting are joined.",
        Axis("learning (points)", zero=True),
        Axis("ACC after the last edit (points)", zero=True),
        series,
    )


def _point(label: str, one: Retained) -> Point:
    (x, left, right), (y, low, high) = one.learning, one.final

    def said(value: float, low: float | None, high: float | None) -> str:
        return f"{value:.1f}" + (f" [{low:.1f}, {high:.1f}]" if low is not None and high is not None else "")

    return Point(x, y, f"{label}: learnt {said(*one.learning)}, left {said(*one.final)}", low, high, left, right)


def _points(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _group(found: ResultFile, row: Row) -> str:
    conditions = {name: value for name, value in row.conditions.items() if name not in _OF_THE_METHOD}
    return json.dumps([conditions, found.task.items], sort_keys=True)
