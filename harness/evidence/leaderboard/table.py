"""The table that a run prints at its end, and the words for its cells that every other rendering shares."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness import stats
from harness.escape import rich
from harness.evidence import conditions, judge_error
from harness.evidence.leaderboard.summary import Summary, differing_conditions, said_of_reward, summarise, tables
from harness.evidence.result import ResultFile, Row
from harness.evidence.result import Table as ResultTable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.measure import Measurement
    from rich.table import Table

FEW = 6
"""Tables beside the headline that still fit beside it as columns."""
ACROSS, NARROW = 5, 10
"""Tables that stand side by side, and characters of a title before it goes on in another line: 80 columns hold them."""
LONG = 160
"""Characters of a note before the rest is left to the run's page."""
RANK_NOTE = (
    "rank: from the best to the worst place among comparable rows that noise leaves open to a row; "
    f"{stats.MIN_SEEDS} or more seeds that differ, and {stats.MIN_CONTEXTS} or more contexts, are ranked"
)


def percent(value: float | None) -> str:
    """A fraction as points with one decimal; "–" where there is none."""
    return "–" if value is None else f"{100 * value:.1f}"


def shown(value: float | None, unit: str) -> str:
    """A score: points for a share, three digits for what has a unit."""
    return percent(value) if not unit or value is None else f"{value:.3g}"


def interval(low: float | None, high: float | None, unit: str = "") -> str:
    """The two ends of an interval; "–" where there is none."""
    return "–" if low is None or high is None else f"{shown(low, unit)}–{shown(high, unit)}"


def metrics(found: ResultFile) -> str:
    """What the headline's rows were graded by: their evaluators' own metrics, and their unit where they have one."""
    names = dict.fromkeys(str(row.conditions.get("metric") or found.task.metric) for row in found.rows)
    return " and ".join(names or [found.task.metric]) + (f" in {found.task.unit}" if found.task.unit else "")


def by_step(table: ResultTable, row: Row) -> str:
    """A row's figure at every step of its table; "" where there are none."""
    if not table.steps or not row.scores:
        return ""
    place = table.rows.index(row)
    rows = {step: table.at(step).rows[place] for step in table.steps}
    figures = {
        step: shown(tables(table.task, then).mean if then.scored else None, table.task.unit)
        for step, then in rows.items()
    }
    return "by step " + ", ".join(f"{step}: {figure}" for step, figure in figures.items())


def beside(found: ResultFile) -> dict[str, dict[str, str]]:
    """Title of a column -> method -> its figure, for every table beside the headline."""
    columns: dict[str, dict[str, str]] = {}
    for other in found.tables:
        if other.name != found.headline:
            view = found.of_table(other.name)
            columns[f"{other.name}\n({metrics(view)})"] = {
                row.method: shown(tables(other.task, row).mean if row.scored else None, other.task.unit)
                for row in other.rows
            }
    return columns


def seconds(value: float | None) -> str:
    """Seconds as s, min or h with three digits at most; "–" where not measured."""
    if value is None:
        return "–"
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if value >= 2 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} s"


def span(low: int | None, high: int | None) -> str:
    """The ranks that a row may have, as ``2`` or ``2–4``; "–" where it has none."""
    if low is None:
        return "–"
    return str(low) if high in (None, low) else f"{low}–{high}"


def rank(summary: Summary) -> str:
    return span(summary.ranks.low, summary.ranks.high) if summary.ranks else "–"


def total_seconds(summary: Summary) -> float | None:
    """All seconds that the row cost, over every seed, without one-off training; None where none were measured."""
    known = [v for name, v in summary.row.costs.items() if name.endswith("_s") and name != "meta_s" and v is not None]
    return sum(known) if known else None


def notes(summary: Summary, longest: int = 0) -> str:
    """Why a row is unranked, what it was allowed beyond the others, and what a run noted of it.

    Args:
        longest: characters of each of the run's notes; 0 is no limit.
    """
    card = summary.row.card
    said = [summary.why_unranked] if summary.why_unranked else []
    for name in ("transductive", "open_book", "outside_teacher"):
        if getattr(card, name):
            said.append(name.replace("_", "-").replace("outside-teacher", "outside teacher"))
    if once := summary.row.costs.get("meta_s"):
        said.append(f"trained once before, {seconds(once / len(summary.row.seeds))}, not in its cost")
    graded = judge_error.note(summary.row) if summary.row.scored else ""
    cut = " ... (the rest: harness view)"
    own = [textwrap.shorten(note, longest, placeholder=cut) if longest else note for note in summary.row.notes]
    return "; ".join([*said, *own, *said_of_reward(summary.row), *([graded] if graded else [])])


def render(found: ResultFile) -> RenderableType:
    """The rows of one result file as a table for the terminal, best first within each group of equal conditions.

    A few tables beside the headline become columns of it; more get a table of their own, with intervals.
    """
    from rich.console import Group

    if len(found.tables) - 1 <= FEW:
        return _headline(found, beside(found))
    return Group(_headline(found, {}), *_measures(found))


def _measures(found: ResultFile) -> list[Table]:
    """The tables beside the headline: a line for each with intervals, and a column for each method; where there are
    more methods than tables, a line for each method and the figures alone, a few tables at a time."""
    others = [other for other in found.tables if other.name != found.headline]
    methods = list(dict.fromkeys(row.method for other in others for row in other.rows))
    by_method = len(methods) > len(others)
    cells: dict[str, dict[str, str]] = {}
    for other in others:
        unit = other.task.unit
        for one in summarise(found.of_table(other.name)):
            spread = "" if by_method or one.low is None else f" [{interval(one.low, one.high, unit)}]"
            cells.setdefault(one.row.method, {})[other.name] = f"{shown(one.score, unit)}{spread}"
    out = []
    if by_method:
        for start in range(0, len(others), ACROSS):
            table = _plain("beside it, at the last step")
            table.add_column("method", no_wrap=True)
            part = others[start : start + ACROSS]
            for other in part:
                title = "\n".join(map(rich, textwrap.wrap(other.name, NARROW)))
                table.add_column(title, justify="right", no_wrap=True)
            for method in methods:
                table.add_row(rich(method), *(cells.get(method, {}).get(other.name, "–") for other in part))
            out.append(table)
        return out
    table = _plain("beside it, at the last step, with 95% intervals")
    for name in ("measure", "of", *map(rich, methods)):
        table.add_column(name, justify="left" if name in ("measure", "of") else "right", overflow="fold")
    for other in others:
        figures = (cells.get(method, {}).get(other.name, "–") for method in methods)
        table.add_row(rich(other.name), rich(metrics(found.of_table(other.name))), *figures)
    return [table]


def _plain(title: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _headline(found: ResultFile, others: Mapping[str, Mapping[str, str]]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    task = found.task
    summaries = summarise(found)
    table = Table(
        title=rich(f"{task.name} {task.version}, {task.split}: {metrics(found)}, {task.average} average"),
        caption="\n".join(rich(said) for said in [_caption(found), *_footnotes(found.head, summaries)]),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    kinds = [name for name in ("failed", "unparsed", "errors") if name == "failed" or _any(summaries, name)]
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("method")
    headers = ("score", "95%\ninterval", "contexts/\nqueries", "seeds", "scored/\nexpected", *kinds)
    for name in (*headers, *("\n".join(map(rich, name.split("\n"))) for name in others), "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in ordered(summaries):
        for one in group:
            table.add_row(
                rank(one),
                _Name(one.row.method),
                shown(one.score, task.unit),
                interval(one.low, one.high, task.unit),
                f"{one.contexts}/{one.queries}",
                str(one.seeds),
                f"{one.row.scored}/{one.row.expected}",
                *(str(getattr(one.row, name)) for name in kinds),
                *(column.get(one.row.method, "–") for column in others.values()),
                seconds(total_seconds(one)),
            )
        table.add_section()
    return table


class _Name:
    """A name that goes on in another line after a hyphen where a column is narrow."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        least = max(map(len, textwrap.wrap(self._name, 1, break_long_words=False)), default=1)
        return Measurement(least, max(least, len(self._name)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield "\n".join(map(rich, textwrap.wrap(self._name, max(1, options.max_width))))


def _any(summaries: Sequence[Summary], name: str) -> bool:
    return any(getattr(one.row, name) for one in summaries)


def _footnotes(table: ResultTable, summaries: Sequence[Summary]) -> list[str]:
    """What is to be said of single rows; rows of which the same is said stand together."""
    said: dict[str, list[str]] = {}
    for one in summaries:
        if text := "; ".join(filter(None, (notes(one, LONG), by_step(table, one.row)))):
            said.setdefault(text, []).append(one.row.method)
    return [f"{', '.join(methods)}: {text}" for text, methods in said.items()]


def _caption(found: ResultFile) -> str:
    apart = differing_conditions(found.rows)
    return RANK_NOTE + (f"; sections differ in {', '.join(apart)}, so they are not ranked together" if apart else "")


def ordered(summaries: Sequence[Summary]) -> list[list[Summary]]:
    """Summaries grouped by equal conditions, best group first; within a group by rank, then by score."""
    by_row = {id(one.row): one for one in summaries}
    groups = [
        sorted((by_row[id(row)] for row in group), key=_order)
        for group in conditions.groups(one.row for one in summaries)
    ]
    return sorted(groups, key=lambda group: -(group[0].score or 0.0))


def _order(one: Summary) -> tuple[bool, int, float, str]:
    return one.rank is None, one.rank or 0, -(one.score or 0.0), one.row.method
