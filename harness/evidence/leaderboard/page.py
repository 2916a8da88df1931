"""The leaderboards as one HTML page that needs nothing but a browser: tables and plots are in it as they are shown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources

from harness.escape import html
from harness.evidence import colours, plots
from harness.evidence.leaderboard.board import Line, Section
from harness.evidence.leaderboard.render import COLUMNS, FIRST, RANKS, cost
from harness.evidence.leaderboard.table import interval, percent, seconds
from harness.evidence.plots import Axis, Point, Series
from harness.evidence.retained import figures


def to_html(made: Sequence[Section]) -> str:
    """The page's text: the same sections give the same bytes."""
    page = resources.files("harness.evidence.leaderboard").joinpath("page.html").read_text(encoding="utf-8")
    parts = {
        "ranks": html(RANKS),
        "style": f"{colours.css()}\n{plots.STYLE}",
        "sections": "\n".join(_section(index, one) for index, one in enumerate(made)),
    }
    return re.sub(r"{{(\w+)}}", lambda place: parts[place.group(1)], page)


def _section(index: int, section: Section) -> str:
    of = colours.places(line.method for line in section.lines)
    groups = "".join(
        _group(f"s{index}g{at}", words, lines, section, of) for at, (words, lines) in enumerate(section.groups.items())
    )
    kept = figures(f"s{index}-retained", [(one.method, f"var(--c{of[one.method]})", one) for one in section.retained])
    drawn = f'<div class="plots">{"".join(kept)}</div>' if kept else ""
    return (
        f'<section data-title="{html(section.title)}" data-kind="{section.kind}"><h2>{html(section.title)} '
        f'<small class="{section.kind}">{section.kind}</small></h2><p>Source: {html(section.source)}.</p>{drawn}'
        f"{groups}</section>"
    )


def _group(name: str, words: str, lines: Sequence[Line], section: Section, of: Mapping[str, int]) -> str:
    """What may be ranked together: its condition, its table, its plots."""
    head = "".join(
        f'<th scope="col"{_more(at)}><button type="button">{html(column.name)}</button></th>'
        for at, column in enumerate(COLUMNS)
    )
    rows = "\n".join(_row(line, section.unit, of) for line in lines)
    title = f"<h3>{html(words[:1].upper() + words[1:])}</h3>" if words else ""
    drawn = "" if section.unit else "".join(_plots(name, lines, of))
    return (
        f'<div class="group">{title}<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f'<tbody>\n{rows}\n</tbody></table></div><div class="plots">{drawn}</div></div>'
    )


def _row(line: Line, unit: str, of: Mapping[str, int]) -> str:
    out = []
    for at, column in enumerate(COLUMNS):
        value = column.value(line)
        order = f' data-value="{value}"' if value is not None else ""
        text = html(column.text(line, unit))
        if column.name == "method":
            text = f'<span class="chip" style="--of:{_colour(line, of)}">{text}</span>'
        out.append(f"<td{order}{_more(at)}>{text}</td>")
    return f"<tr>{''.join(out)}</tr>"


def _more(at: int) -> str:
    """What marks a column that is shown on demand, and the one of the notes."""
    return ' class="more"' if at >= FIRST else ' class="notes"' if COLUMNS[at].name == "notes" else ""


def _plots(name: str, lines: Sequence[Line], of: Mapping[str, int]) -> list[str]:
    made = []
    scored = [line for line in lines if line.score is not None]
    if len(scored) > 1:
        items = [
            (line.method, _colour(line, of), _point(line, 100 * (line.score or 0.0), _said(line))) for line in scored
        ]
        caption = "Scores with their 95% intervals, where there are scores per query."
        made.append(plots.dots(f"{name}-scores", caption, Axis("points", zero=True), items))
    paid = [(line, spent) for line in scored if (spent := cost(line))]
    if len(paid) > 1:
        series = [Series(line.method, _colour(line, of), [_against(line, spent)], line=False) for line, spent in paid]
        caption = "Score with its 95% interval against cost, without one-off training."
        axes = Axis("seconds per seed", logarithmic=True), Axis("points", zero=True)
        made.append(plots.plot(f"{name}-cost", caption, *axes, series))
    curves = [Series(line.method, _colour(line, of), points) for line in lines if len(points := _curve(line)) > 1]
    if curves:
        caption = "Validation score by round of the outer loop; round 0 is the start."
        axes = Axis("round", whole=True), Axis("points", zero=True)
        made.append(plots.plot(f"{name}-curve", caption, *axes, curves))
    return made


def _point(line: Line, x: float, said: str) -> Point:
    low, high = (None if one is None else 100 * one for one in (line.low, line.high))
    return Point(x, 100 * (line.score or 0.0), said, low, high)


def _against(line: Line, spent: float) -> Point:
    return _point(line, spent, f"{_said(line)} for {seconds(spent)} per seed")


def _curve(line: Line) -> list[Point]:
    return [
        Point(
            one["round"], 100 * one["validation"], f"{line.method}, round {one['round']}: {percent(one['validation'])}"
        )
        for one in line.curve
        if one.get("validation") is not None
    ]


def _said(line: Line) -> str:
    spread = interval(line.low, line.high)
    return f"{line.method}: {percent(line.score)}" + (f" [{spread}]" if spread != "–" else "")


def _colour(line: Line, of: Mapping[str, int]) -> str:
    return f"var(--c{of[line.method]})"
