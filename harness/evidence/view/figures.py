"""The plots of a run's page: score against cost, validation by round, and every further measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from harness.evidence.leaderboard.summary import Summary, tables
from harness.evidence.leaderboard.table import interval, percent, seconds, total_seconds
from harness.evidence.plots import Axis, Point, Series, heat_map, plot
from harness.evidence.result import Row, Table
from harness.evidence.retained import figures, retained
from harness.evidence.view.data import Shown
from harness.evidence.view.parts import colour, row_of

WIDEST = 48
"""Columns of a heat map; more contexts than that are put together in their order."""


def plots(rows: Sequence[Shown], summaries: Mapping[str, Summary]) -> str:
    """Score against cost, validation by round, learning against retention, every further measure against the headline
    and by step."""
    made = [one for one in (_cost_plot(rows, summaries), _validation(rows)) if one]
    made += _retained(rows)
    tables_there = list(dict.fromkeys(t.name for row in rows for t in row.run.found.tables))
    for at, name in enumerate(tables_there):
        made += _measure_plots(f"m{at}", name, rows, summaries)
    return f'<div class="plots">{"".join(made)}</div>' if made else ""


def _cost_plot(rows: Sequence[Shown], summaries: Mapping[str, Summary]) -> str:
    series = []
    for row in rows:
        one = summaries[row.label]
        cost = total_seconds(one)
        if one.score is not None and cost:
            spent = cost / max(1, one.seeds)
            said = f"{row.label}: {percent(one.score)} [{interval(one.low, one.high)}] for {seconds(spent)} per seed"
            low, high = (100 * v if v is not None else None for v in (one.low, one.high))
            series.append(Series(row.label, colour(row), [Point(spent, 100 * one.score, said, low, high)], line=False))
    unit = rows[0].run.found.task.unit
    if len(series) < 2 or unit:
        return ""
    return plot("cost", "Score with its 95% interval against cost.", Axis("seconds per seed", logarithmic=True),
                Axis("points", zero=True), [*series, *_frontier(series)])  # fmt: skip


def _frontier(series: Sequence[Series], *, rising: bool = True, x_lower: bool = True) -> Iterator[Series]:
    """A line through the points that no other one beats in both."""
    points = [one.points[0] for one in series]
    sign_x, sign_y = (1 if x_lower else -1), (-1 if rising else 1)
    ranked = sorted(points, key=lambda p: (sign_x * p.x, sign_y * p.y))
    best: list[Point] = []
    for point in ranked:
        if not best or sign_y * point.y < sign_y * best[-1].y:
            best.append(point)
    if len(best) > 1:
        yield Series("frontier", "var(--faint)", [Point(p.x, p.y, "") for p in best], dots=False)


def _validation(rows: Sequence[Shown]) -> str:
    series = []
    for row in rows:
        points = [
            Point(
                one["round"],
                100 * one["validation"],
                f"{row.label}, round {one['round']}: {percent(one['validation'])}",
            )
            for one in row_of(row).curve
            if one.get("validation") is not None
        ]
        if len(points) > 1:
            series.append(Series(row.label, colour(row), points))
    if not series:
        return ""
    return plot("validation", "Validation score by round of the outer loop, averaged over seeds; round 0 is the start.",
                Axis("round", whole=True), Axis("points", zero=True), series)  # fmt: skip


def _retained(rows: Sequence[Shown]) -> list[str]:
    kept = {
        id(run): {one.method: one for one in retained(run.found)} for run in {id(r.run): r.run for r in rows}.values()
    }
    shown = [(row.label, colour(row), kept[id(row.run)][row.method]) for row in rows if row.method in kept[id(row.run)]]
    return figures("retained", shown)


def _measure_plots(name: str, table_name: str, rows: Sequence[Shown], summaries: Mapping[str, Summary]) -> list[str]:
    """A measure's plots: against the headline, by step, and step by context."""
    held = []
    for row in rows:
        for table in row.run.found.tables:
            mine = next((one for one in table.rows if one.method == row.method), None)
            if table.name == table_name and mine is not None and mine.scored:
                held.append((row, table, mine))
    if not held:
        return []
    first = held[0][1].task
    scale, unit = (100.0, "points") if not first.unit else (1.0, first.unit)
    title = f"{table_name} ({unit})"
    made = []
    if table_name != held[0][0].run.found.headline:
        series = []
        for row, table, mine in held:
            head = summaries[row.label]
            if head.score is not None:
                x, y = scale * tables(table.task, mine).mean, 100 * head.score
                low, high = (100 * v if v is not None else None for v in (head.low, head.high))
                said = f"{row.label}: {x:.3g} {unit}, score {y:.1f} [{interval(head.low, head.high)}]"
                series.append(Series(row.label, colour(row), [Point(x, y, said, low, high)], line=False))
        if len(series) > 1:
            front = list(_frontier(series, x_lower=first.lower_is_better))
            said = f"The headline with its 95% interval against {table_name}"
            said += "; the line joins the rows that no other one beats in both." if front else "."
            made.append(
                plot(
                    f"{name}-front",
                    said,
                    Axis(title, zero=not first.unit),
                    Axis("score (points)", zero=True),
                    [*series, *front],
                )
            )
    by_step = [(row, points) for row, table, mine in held if len(points := _by_step(row, table, mine, scale)) > 1]
    if by_step:
        made.append(
            plot(
                f"{name}-steps",
                f"{table_name} at each step.",
                Axis("step", whole=True),
                Axis(unit, zero=True),
                [Series(row.label, colour(row), points) for row, points in by_step],
            )
        )
    for at, (row, table, mine) in enumerate(held):
        if len(table.steps) > 1 and len(_columns(table, row.run.found.headline)) > 1:
            made.append(_matrix(f"{name}-heat{at}", row, table, mine))
    return made


def _by_step(row: Shown, table: Table, mine: Row, scale: float) -> list[Point]:
    place = table.rows.index(mine)
    found = []
    for step in table.steps:
        then = table.at(step).rows[place]
        if then.scored:
            value = scale * tables(table.task, then).mean
            found.append(Point(step, value, f"{row.label}, step {step}: {value:.3g}"))
    return found


def _matrix(name: str, row: Shown, table: Table, mine: Row) -> str:
    """Step by context (or place of a sequence): what it scored after each step, over queries and seeds."""
    place = table.rows.index(mine)
    found = _columns(table, row.run.found.headline)
    cells = [
        [
            _mean([values[at] for values in table.at(step).rows[place].scores for at in places])
            for places in found.values()
        ]
        for step in table.steps
    ]
    columns = list(found)
    size = -(-len(columns) // WIDEST)
    if size > 1:
        cells = [[_mean(one[at : at + size]) for at in range(0, len(one), size)] for one in cells]
        columns = [f"{at + 1}–{min(at + size, len(columns))}" for at in range(0, len(columns), size)]
    known = [value for one in cells for value in one if value is not None]
    low, high = (0.0, 1.0) if not table.task.unit else (min(known, default=0.0), max(known, default=1.0))
    colours = [[None if v is None else (v - low) / ((high - low) or 1.0) for v in one] for one in cells]
    texts = [
        ["" if v is None else (f"{100 * v:.0f}" if not table.task.unit else f"{v:.2g}") for v in one] for one in cells
    ]
    labels = [f"after step {step}" for step in table.steps]
    said = f"{row.label}: {table.name} by context, or by its place in a sequence, after each step, "
    said += f"in {table.task.unit or 'points'}"
    return heat_map(
        name, said + (f"; {size} contexts to a column." if size > 1 else "."), labels, columns, colours, texts
    )


def _columns(table: Table, headline: str) -> dict[str, list[int]]:
    """Column of a matrix -> the places of its queries: one per context or, where each context is a sequence with a
    query per step (a retention matrix), one per place in the sequence, over all sequences."""
    by_context: dict[str, list[int]] = {}
    by_place: dict[str, list[int]] = {}
    at = 0
    for context, queries in table.task.items:
        by_context[context] = list(range(at, at + len(queries)))
        for query in queries:
            by_place.setdefault(query.removeprefix(f"{context}/"), []).append(at)
            at += 1
    aligned = {len(places) for places in by_place.values()} == {len(table.task.items)}
    of_sequences = table.name != headline and aligned and len(by_place) + 1 >= len(table.steps)
    return by_place if of_sequences and len(by_place) > 1 else by_context


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
