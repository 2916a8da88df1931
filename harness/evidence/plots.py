"""Plots as inline SVG, for pages that are one file and need no network.

Drawn with pygal: it is small and pure Python, its SVG has the same bytes on every machine, text stays text, and its
colours may be custom properties of the page, so that one drawing serves both colour schemes. Libraries that draw in the
browser (Vega-Lite, plotly, bokeh) would put 1 to 5 MB of script into each page. What it cannot do (a heat map whose
cells can be read and reached by keyboard) is a table: see :func:`heat_map`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.escape import html, terminal

WIDTH, HEIGHT = 460, 280


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    said: str
    """What is shown when it is pointed at."""
    low: float | None = None
    high: float | None = None
    """Ends of its interval along y."""
    left: float | None = None
    right: float | None = None
    """Ends of its interval along x."""


@dataclass(frozen=True)
class Series:
    """Points of one colour; ``line`` joins them."""

    name: str
    colour: str
    """A CSS colour, such as ``var(--c3)``."""
    points: Sequence[Point]
    line: bool = True
    dots: bool = True


@dataclass(frozen=True)
class Axis:
    title: str
    zero: bool = False
    """Whether it starts at zero: where the measure has one."""
    logarithmic: bool = False
    whole: bool = False
    """Whether only whole numbers are marked, as for rounds and steps."""


def plot(name: str, caption: str, x: Axis, y: Axis, series: Sequence[Series], *, legend: bool = True) -> str:
    """A ``<figure>`` of lines and points with their intervals.

    Args:
        name: the figure's id: letters, digits and hyphens, unique on its page.
    """
    import pygal

    drawn = [one for one in series if one.points]
    placed = [(one, [(_place(point.x, x), point) for point in one.points]) for one in drawn]
    parts: list[tuple[str, list[Any], dict[str, Any]]] = []
    for one, points in placed:
        for at, point in points:
            if point.low is not None and point.high is not None:
                parts.append((one.colour, [(at, point.low), (at, point.high)], {"show_dots": False}))
            if point.left is not None and point.right is not None:
                ends = [(_place(end, x), point.y) for end in (point.left, point.right)]
                parts.append((one.colour, ends, {"show_dots": False}))
        values = [{"value": (at, point.y), "label": terminal(point.said)} for at, point in points]
        parts.append((one.colour, values, {"stroke": one.line and len(points) > 1, "show_dots": one.dots}))
    flat = [(at, point) for _, points in placed for at, point in points]
    across = [_place(end, x) for _, point in flat for end in (point.left, point.right) if end is not None]
    chart = pygal.XY(
        **_look([colour for colour, _, _ in parts]),
        dots_size=3.5,
        x_title=x.title + (" (log scale)" if x.logarithmic else ""),
        y_title=y.title,
        xrange=_range([at for at, _ in flat] + across, zero=x.zero and not x.logarithmic),
        range=_range([v for _, p in flat for v in (p.y, p.low, p.high) if v is not None], zero=y.zero),
    )
    if x.logarithmic:
        chart.x_labels = [{"label": _short(10**at), "value": at} for at in _decades([at for at, _ in flat])]
    elif x.whole:
        chart.x_labels = _whole([at for at, _ in flat])
    for colour, values, options in parts:
        chart.add(colour, values, **options)
    shown = [(one.name, one.colour) for one in drawn] if legend else []
    return _figure(name, caption, _svg(chart, name), shown)


def bars(name: str, caption: str, x: Axis, labels: Sequence[str], parts: Mapping[str, Sequence[float]]) -> str:
    """A ``<figure>`` of stacked horizontal bars: one per label, made of named parts."""
    import pygal

    colours = [f"var(--p{at % 8})" for at in range(len(parts))]
    chart = pygal.HorizontalStackedBar(**_look(colours, height=90 + 26 * len(labels)), x_title=x.title)
    chart.x_labels = [terminal(label) for label in reversed(labels)]
    for part, values in parts.items():
        said = [
            {"value": value or None, "label": terminal(f"{label}, {part}: {_short(value)}")}
            for label, value in zip(labels, values, strict=True)
        ]
        chart.add(terminal(part), list(reversed(said)))
    return _figure(name, caption, _svg(chart, name), list(zip(parts, colours, strict=True)))


def dots(name: str, caption: str, x: Axis, items: Sequence[tuple[str, str, Point]]) -> str:
    """A ``<figure>`` with a line per item, in their order: (label, colour, point); a point's ``low`` and ``high`` lie
    along ``x``."""
    import pygal

    parts: list[tuple[str, list[Any], dict[str, Any]]] = []
    for place, (_, colour, point) in enumerate(reversed(items), 1):
        if point.low is not None and point.high is not None:
            parts.append((colour, [(point.low, place), (point.high, place)], {"show_dots": False}))
        parts.append((colour, [{"value": (point.x, place), "label": terminal(point.said)}], {"stroke": False}))
    chart = pygal.XY(
        **_look([colour for colour, _, _ in parts], height=64 + 21 * len(items)),
        dots_size=4,
        x_title=x.title,
        xrange=_range([v for _, _, p in items for v in (p.x, p.low, p.high) if v is not None], zero=x.zero),
        range=(0.4, len(items) + 0.6),
        y_labels=[{"label": _label(label), "value": place} for place, (label, _, _) in enumerate(reversed(items), 1)],
    )
    for colour, values, options in parts:
        chart.add(colour, values, **options)
    return _figure(name, caption, _svg(chart, name), [])


def _label(text: str) -> str:
    flat = terminal(text)
    return flat if len(flat) <= 28 else f"{flat[:27]}…"


def heat_map(
    name: str,
    caption: str,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[float | None]],
    shown: Sequence[Sequence[str]],
    *,
    corner: str = "",
) -> str:
    """A ``<figure>`` with a table whose cells are coloured by their values in [0, 1]; None is an empty cell."""
    head = "".join(f'<th scope="col"><span>{html(one)}</span></th>' for one in columns)
    body = []
    for label, values, texts in zip(rows, cells, shown, strict=True):
        inside = "".join(
            "<td></td>" if value is None else f'<td style="--v:{max(0.0, min(1.0, value)):.3f}">{html(text)}</td>'
            for value, text in zip(values, texts, strict=True)
        )
        body.append(f'<tr><th scope="row">{html(label)}</th>{inside}</tr>')
    table = (
        f'<div class="scroll" tabindex="0"><table class="heat"><thead><tr><th>{html(corner)}</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
    return f'<figure id="{name}" class="wide">{table}<figcaption>{html(caption)}</figcaption></figure>'


STYLE = """
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1.25rem; }
figure { margin: 0; min-width: 0; } figure.wide { grid-column: 1 / -1; }
figcaption { font-size: .85rem; color: var(--faint); margin-top: .15rem; }
figure .xy-graph .axis.x path { display: none; }
figure svg { width: 100%; height: auto; display: block; max-width: 36rem; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem .9rem; font-size: .85rem; margin: .25rem 0 0;
  padding: 0; list-style: none; }
.legend i, .chip::before { content: ""; display: inline-block; width: .7em;
  height: .7em; border-radius: 50%; background: var(--of); margin-right: .35em; }
table.heat { border-collapse: separate; border-spacing: 2px; font-size: .8rem; width: auto; }
table.heat th, table.heat td { padding: .2rem .35rem; text-align: center; border: 0; min-width: 2.4em; }
table.heat td { background: color-mix(in oklab, var(--mark) calc(var(--v) * 75%), var(--soft)); }
table.heat thead th { max-width: 5rem; overflow: hidden; text-overflow: ellipsis; }
:root { --p0: oklch(52% .15 255); --p1: oklch(66% .15 60); --p2: oklch(58% .13 150); --p3: oklch(55% .17 330);
  --p4: oklch(62% .1 200); --p5: oklch(55% .02 260);
  --p6: oklch(72% .1 25); --p7: oklch(42% .09 120); }
@media (prefers-color-scheme: dark) { :root {
  --p0: oklch(70% .14 255); --p1: oklch(78% .13 70); --p2: oklch(74% .13 150);
  --p3: oklch(70% .15 330);
  --p4: oklch(78% .09 200); --p5: oklch(70% .02 260);
  --p6: oklch(80% .09 25); --p7: oklch(62% .09 120); } }
"""
"""What the figures need of a page that defines ``--ink --faint --line --soft --mark``."""


def _place(value: float, axis: Axis) -> float:
    return math.log10(value) if axis.logarithmic else value


def _range(values: Sequence[float], *, zero: bool) -> tuple[float, float]:
    """The ends of an axis, with room beside a single value."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    low, high = (min(0.0, low), max(0.0, high)) if zero else (low, high)
    if low == high:
        return low - (0.0 if zero and low == 0 else 0.5), high + 0.5
    room = (high - low) * 0.04
    return low - (0.0 if zero and low == 0 else room), high + room


def _decades(logs: Sequence[float]) -> list[float]:
    """Labels of a logarithmic axis: 1, 2 and 5 of each power of ten that it covers, or its ends."""
    low, high = _range(logs, zero=False)
    wanted = [math.log10(one) + power for power in range(math.floor(low), math.ceil(high) + 1) for one in (1, 2, 5)]
    inside = [at for at in wanted if low <= at <= high]
    if len(inside) > 6:
        inside = [at for at in inside if abs(at - round(at)) < 1e-9] or inside
    return inside if len(inside) > 1 else [min(logs), max(logs)]


def _whole(values: Sequence[float]) -> list[int]:
    """Whole numbers from the first to the last, eight at most."""
    low, high = round(min(values)), round(max(values))
    return list(range(low, high + 1, max(1, -(-(high - low) // 7))))


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _look(colours: Sequence[str], height: int = HEIGHT) -> dict[str, Any]:
    from pygal.style import Style

    style = Style(
        background="transparent", plot_background="transparent", foreground="var(--ink)",
        foreground_strong="var(--ink)", foreground_subtle="var(--faint)", guide_stroke_color="var(--line)",
        major_guide_stroke_color="var(--line)", guide_stroke_dasharray="", major_guide_stroke_dasharray="",
        opacity="1", opacity_hover="1", stroke_opacity="1", transition="0s", colors=tuple(colours) or ("var(--ink)",),
        font_family="inherit", label_font_size=11, major_label_font_size=11, title_font_size=12,
    )  # fmt: skip
    return {"style": style, "width": WIDTH, "height": height, "show_legend": False, "js": (), "margin": 6,
            "pretty_print": False, "truncate_label": 24, "print_values": False, "explicit_size": False,
            "value_formatter": _short, "x_value_formatter": _short, "no_data_text": "", "include_x_axis": False,
            "max_scale": 6, "disable_xml_declaration": True, "stroke_style": {"width": 1.6}}  # fmt: skip


_NOISE = re.compile(
    r"<!--.*?-->|<script.*?</script>|<script[^>]*/>|<title>[^<]*</title>|<title ?/>"
    r"|<desc class=\"(?!label)[^\"]*\">[^<]*</desc>",
    re.DOTALL,
)
_UNUSED = re.compile(
    r"#chart-[\w-]+ [^{}#]*(?:tooltip|legend|map-element|text-overlay|no_data|bound|value)[^{}#]*\{[^{}]*\}"
)
_LABEL = re.compile(r'<desc class="label">([^<]*)</desc>')


def _svg(chart: Any, name: str) -> str:
    """The drawing without what it brings for a page of its own: a date, scripts, and positions for its tooltips."""
    chart.uuid = name
    text = _UNUSED.sub("", _NOISE.sub("", chart.render(is_unicode=True)))
    return _LABEL.sub(r"<title>\1</title>", text).strip()


def _figure(name: str, caption: str, svg: str, legend: Sequence[tuple[str, str]]) -> str:
    chips = "".join(f'<li><i style="--of:{colour}"></i>{html(one)}</li>' for one, colour in legend)
    listed = f'<ul class="legend">{chips}</ul>' if chips else ""
    picture = f'<div role="img" aria-label="{html(caption)}">{svg}</div>'
    return f'<figure id="{name}">{picture}{listed}<figcaption>{html(caption)}</figcaption></figure>'
