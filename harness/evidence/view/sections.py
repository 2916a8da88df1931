"""The parts of a run's page that are there without a script: table, plots, outer loop, costs, configuration, notes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from harness.escape import html
from harness.evidence.leaderboard.summary import Summary, differing_conditions, tables
from harness.evidence.leaderboard.table import (
    RANK_NOTE,
    beside,
    interval,
    metrics,
    notes,
    ordered,
    percent,
    rank,
    seconds,
    shown,
    total_seconds,
)
from harness.evidence.plots import Axis, Point, Series, bars, heat_map, plot
from harness.evidence.result import Row, Table
from harness.evidence.retained import figures, retained
from harness.evidence.view.data import Shown

WIDEST = 48
"""Columns of a heat map; more contexts than that are put together in their order."""
_PHASES = ("generation", "update", "grading", "reward")


def scores_table(rows: Sequence[Shown], summaries: Mapping[str, Summary]) -> str:
    """The headline: one line per row, in blocks of what may be ranked together."""
    others = list(dict.fromkeys(name for row in rows for name in beside(row.run.found)))
    names = ["rank", "method", "score", "95% interval", "contexts/queries", "seeds", "failed", "unparsed", "errors",
             *(name.replace("\n", " ") for name in others), "cost"]  # fmt: skip
    head = "".join(f'<th scope="col">{html(name)}</th>' for name in names)
    by_label = {row.label: row for row in rows}
    labels = {id(one.row): label for label, one in summaries.items()}
    body = []
    for block in ordered(list(summaries.values())):
        inside = []
        for one in block:
            label = labels[id(one.row)]
            row = by_label[label]
            unit = row.run.found.task.unit
            cells = [
                html(rank(one)), chip(row), html(shown(one.score, unit)), html(interval(one.low, one.high, unit)),
                f"{one.contexts}/{one.queries}", str(one.seeds), str(one.row.failed), str(one.row.unparsed),
                str(one.row.errors),
                *(html(beside(row.run.found).get(name, {}).get(one.row.method, "–")) for name in others),
                html(seconds(total_seconds(one))),
            ]  # fmt: skip
            inside.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        body.append(f"<tbody>{''.join(inside)}</tbody>")
    table = _scrolling(f'<table class="scores"><thead><tr>{head}</tr></thead>{"".join(body)}</table>')
    return table + f"<p>{html(_first(RANK_NOTE))}.</p>"


def held_equal(rows: Sequence[Shown]) -> str:
    """What all rows share, and in what they differ: why some are not ranked together."""
    all_rows = [_row(one) for one in rows]
    apart = differing_conditions(all_rows)
    first = all_rows[0].conditions
    found = rows[0].run.found
    said = {
        "task": f"{found.task.name} {found.task.version}, {found.task.split} split",
        "items": f"{found.task.queries} queries of {len(found.task.items)} contexts",
        "graded by": metrics(found),
        "base model": found.model.name,
        "protocol": str(first.get("protocol") or all_rows[0].protocol),
        "edits per context": str(first.get("samples", "–")),
        "start model": str(first.get("start_model", "–")),
    }
    own = {
        "graded by": "metric",
        "base model": "base_model",
        "start model": "start_model",
        "edits per context": "samples",
    }
    equal = {name: value for name, value in said.items() if own.get(name, name) not in apart}
    lines = "".join(f"<dt>{html(name)}</dt><dd>{html(value)}</dd>" for name, value in equal.items())
    differ = ", ".join(name.replace("_", " ") for name in apart)
    tail = f"<p>The rows differ in {html(differ)}; those that do are not ranked together.</p>" if differ else ""
    return f"<dl>{lines}</dl>{tail}"


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
            for one in _row(row).curve
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
            front = _frontier(series, x_lower=first.lower_is_better)
            said = f"The headline with its 95% interval against {table_name}; "
            said += "the line joins the rows that no other one beats in both."
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


def outer_loops(rows: Sequence[Shown]) -> str:
    """Rewards, what was kept, losses, reliability and diagnoses, row by row; "" where there is no outer loop."""
    made = []
    for at, row in enumerate(rows):
        for seed, rounds in row.run.rows[row.method].rounds.items():
            if any(one["candidates"] or one["updates"] or one["metrics"] or one["diagnoses"] for one in rounds):
                made.append(_loop(f"loop{at}-{seed}", at, row, seed, rounds))
    return "".join(made)


def _loop(name: str, at: int, row: Shown, seed: int, rounds: Sequence[Mapping[str, Any]]) -> str:
    drawn = [_rewards(f"{name}-rewards", row, rounds), _round_measures(f"{name}-loss", row, rounds)]
    figures = "".join(one for one in drawn if one)
    columns = list(dict.fromkeys(key for one in rounds for key in (*_plain(one["metrics"]), *_diagnoses(one))))
    head = "".join(
        f'<th scope="col">{html(key.replace("_", " "))}</th>' for key in ("round", "validation", *columns, "tested")
    )
    body = []
    for one in rounds:
        said = {**_plain(one["metrics"]), **_diagnoses(one)}
        place = "–" if one["round"] is None else str(one["round"])
        cells = [
            place,
            percent(one["validation"]),
            *(said.get(key, "–") for key in columns),
            "yes" if one["chosen"] else "",
        ]
        body.append("<tr>" + "".join(f"<td>{html(cell)}</td>" for cell in cells) + "</tr>")
    return (
        f'<section class="loop"><h3>{chip(row)}, seed {seed}</h3><div class="plots">{figures}</div>'
        f"{_scrolling(f'<table><thead><tr>{head}</tr></thead><tbody>{chr(10).join(body)}</tbody></table>')}"
        f'<details class="candidates" data-row="{at}" data-seed="{seed}"><summary>Every candidate by round</summary>'
        f"<div></div></details></section>"
    )


def _rewards(name: str, row: Shown, rounds: Sequence[Mapping[str, Any]]) -> str:
    """Every candidate's reward by round; of very many, the first of each round."""
    lost: list[Point] = []
    kept_points: list[Point] = []
    means: list[Point] = []
    for one in rounds:
        if not one["round"]:
            continue
        kept = {edit for update in one["updates"] for edit in update["edits"]}
        known = []
        for candidate in one["candidates"]:
            value = next((reward["value"] for reward in candidate.get("rewards", {}).values()), None)
            if value is not None:
                known.append((candidate["edit"], value))
        for place, (edit, value) in enumerate(known[:200]):
            at = one["round"] + ((place % 21) - 10) / 60
            point = Point(at, value, f"{edit}: {value:.3g}{', kept' if edit in kept else ''}")
            (kept_points if edit in kept else lost).append(point)
        if known:
            mean = fmean(value for _, value in known)
            means.append(Point(one["round"], mean, f"mean of round {one['round']}: {mean:.3g}"))
    if not means:
        return ""
    series = [
        Series("not kept", "var(--faint)", lost, line=False),
        Series("kept", colour(row), kept_points, line=False),
        Series("mean", "var(--ink)", means),
    ]
    return plot(name, "Reward of every candidate by round; those kept are what the policy then learnt from.",
                Axis("round", whole=True), Axis("reward", zero=True), series)  # fmt: skip


def _round_measures(name: str, row: Shown, rounds: Sequence[Mapping[str, Any]]) -> str:
    losses = [
        Point(one["round"], update["log"]["loss"], f"round {one['round']}: {update['log']['loss']:.3g}")
        for one in rounds
        for update in one["updates"][:1]
        if one["round"] and isinstance(update["log"].get("loss"), int | float)
    ]
    if not losses:
        return ""
    return plot(name, "The policy's loss at the last step of each round's update.", Axis("round", whole=True),
                Axis("loss", zero=True), [Series("policy loss", colour(row), losses)])  # fmt: skip


def _plain(values: Mapping[str, Any]) -> dict[str, str]:
    """Measures as short texts; an interval as ``0.31 [0.10, 0.52]``."""
    out = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(value.get("value"), int | float):
            spread = f" [{value['low']:.2f}, {value['high']:.2f}]" if {"low", "high"} <= set(value) else ""
            out[name] = f"{value['value']:.2f}{spread}"
        elif isinstance(value, bool | str):
            out[name] = str(value)
        elif isinstance(value, int | float):
            out[name] = f"{value:.3g}" if isinstance(value, float) else str(value)
    return out


def _diagnoses(one: Mapping[str, Any]) -> dict[str, str]:
    return {f"{d['name']}: right": f"{d['right']} of {d['compared']}" for d in one["diagnoses"]}


def spending(rows: Sequence[Shown]) -> str:
    """Where time and money went, by stage and phase, averaged over seeds."""
    sums: dict[str, dict[tuple[str, str], tuple[float, float]]] = {}
    for row in rows:
        mine = sums.setdefault(row.label, {})
        for lines in row.run.rows[row.method].costs.values():
            for line in lines:
                key = (line["stage"], line["phase"])
                had = mine.get(key, (0.0, 0.0))
                mine[key] = (had[0] + line.get("seconds", 0.0), had[1] + (line.get("usd") or 0.0))
    keys = sorted({key for mine in sums.values() for key in mine}, key=lambda key: (key[0] != "outer", _phase(key[1])))
    if not keys:
        return "<p>This run kept no costs by stage and phase.</p>"
    seeds = {row.label: max(1, len(_row(row).seeds)) for row in rows}
    parts = {
        f"{'outer loop' if stage == 'outer' else 'deployment'}: {phase}": [
            sums[row.label].get((stage, phase), (0.0, 0.0))[0] / seeds[row.label] for row in rows
        ]
        for stage, phase in keys
    }
    parts = {name: values for name, values in parts.items() if max(values) >= 0.01}
    figure = bars("spent", "Seconds per seed, by stage and phase. What several rows share is counted in each.",
                  Axis("seconds per seed"), [row.label for row in rows], parts) if parts else ""  # fmt: skip
    head = "".join(f'<th scope="col">{html(name)}</th>' for name in ("method", *parts, "money"))
    body = []
    for at, row in enumerate(rows):
        money = sum(usd for _, usd in sums[row.label].values())
        cells = [seconds(values[at]) if values[at] else "–" for values in parts.values()]
        inside = "".join(f"<td>{html(cell)}</td>" for cell in (*cells, f"${money:.2f}" if money else "–"))
        body.append(f"<tr><td>{chip(row)}</td>{inside}</tr>")
    table = _scrolling(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>")
    return f'<div class="plots">{figure}</div>{table}'


def _phase(name: str) -> tuple[int, str]:
    return (_PHASES.index(name) if name in _PHASES else len(_PHASES)), name


def configuration(rows: Sequence[Shown]) -> str:
    """The resolved configuration of each run, what its components were, and the machine."""
    out = []
    for run in {id(row.run): row.run for row in rows}.values():
        resolved = run.config.get("resolved", run.config)
        known = run.found.provenance
        versions = {**dict(known.distributions if known else {}), **_flat(run.found.environment)}
        lines = "".join(f"<dt>{html(name)}</dt><dd>{html(str(value))}</dd>" for name, value in versions.items())
        text = json.dumps(resolved, indent=2, ensure_ascii=False)
        out.append(
            f"<h3>{html(run.found.run)}</h3><p>Made by <code>{html(run.found.source)}</code></p>"
            f"<details open><summary>Resolved configuration</summary><pre>{html(text)}</pre></details>"
            f"<details><summary>Versions and machine</summary><dl>{lines}</dl></details>"
        )
    return "".join(out)


def _flat(value: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, one in value.items():
        path = f"{under}{name}"
        out |= _flat(one, f"{path}.") if isinstance(one, Mapping) else {path: one}
    return out


def warnings(rows: Sequence[Shown], summaries: Mapping[str, Summary]) -> str:
    """Everything that is to be known of single rows."""
    said = []
    for row in rows:
        text = notes(summaries[row.label])
        if text:
            listed = "".join(f"<li>{html(one)}</li>" for one in text.split("; "))
            said.append(f"<h3>{chip(row)}</h3><ul>{listed}</ul>")
    return "".join(said) or "<p>Nothing is to be said of any row.</p>"


def chip(row: Shown) -> str:
    """A row's name with its colour."""
    return f'<span class="chip" style="--of:{colour(row)}">{html(row.label)}</span>'


def colour(row: Shown) -> str:
    return f"var(--c{row.colour})"


def _row(row: Shown) -> Row:
    return next(one for one in row.run.found.rows if one.method == row.method)


def _scrolling(table: str) -> str:
    """A table that scrolls within the page, with the keyboard too."""
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _first(text: str) -> str:
    return text[0].upper() + text[1:]
