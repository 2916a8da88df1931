"""The table that a run prints at its end, and the words for its cells that every other rendering shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness import stats
from harness.escape import rich
from harness.evidence import conditions, judge_error
from harness.evidence.leaderboard.summary import Summary, differing_conditions, said_of_reward, summarise, tables
from harness.evidence.result import ResultFile, Row
from harness.evidence.result import Table as ResultTable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

FEW = 6
"""Tables beside the headline that still fit beside it as columns."""
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


def notes(summary: Summary) -> str:
    """Why a row is unranked, and what it was allowed beyond the others."""
    card = summary.row.card
    said = [summary.why_unranked] if summary.why_unranked else []
    for name in ("transductive", "open_book", "outside_teacher"):
        if getattr(card, name):
            said.append(name.replace("_", "-").replace("outside-teacher", "outside teacher"))
    if once := summary.row.costs.get("meta_s"):
        said.append(f"trained once before, {seconds(once / len(summary.row.seeds))}, not in its cost")
    graded = judge_error.note(summary.row) if summary.row.scored else ""
    return "; ".join([*said, *summary.row.notes, *said_of_reward(summary.row), *([graded] if graded else [])])


def render(found: ResultFile) -> RenderableType:
    """The rows of one result file as a table for the terminal, best first within each group of equal conditions.

    A few tables beside the headline become columns of it; more get a table of their own, with intervals.
    """
    from rich.console import Group

    if len(found.tables) - 1 <= FEW:
        return _headline(found, beside(found))
    return Group(_headline(found, {}), _measures(found))


def _measures(found: ResultFile) -> Table:
    """A line for each table beside the headline, a column for each method."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title="beside it, at the last step, with 95% intervals", title_justify="left", box=SIMPLE_HEAD,
                  padding=(0, 1, 0, 0))  # fmt: skip
    methods = list(dict.fromkeys(row.method for other in found.tables for row in other.rows))
    for name in ("measure", "of", *map(rich, methods)):
        table.add_column(name, justify="left" if name in ("measure", "of") else "right", overflow="fold")
    for other in found.tables:
        if other.name == found.headline:
            continue
        unit = other.task.unit
        view = found.of_table(other.name)
        cells = {}
        for one in summarise(view):
            spread = f" [{interval(one.low, one.high, unit)}]" if one.low is not None else ""
            cells[one.row.method] = f"{shown(one.score, unit)}{spread}"
        table.add_row(rich(other.name), rich(metrics(view)), *(cells.get(method, "–") for method in methods))
    return table


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
    table.add_column("method", overflow="fold", min_width=8)
    headers = ("score", "95%\ninterval", "contexts/\nqueries", "seeds", "scored/\nexpected", *kinds)
    for name in (*headers, *("\n".join(map(rich, name.split("\n"))) for name in others), "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in ordered(summaries):
        for one in group:
            table.add_row(
                rank(one),
                rich(one.row.method),
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


def _any(summaries: Sequence[Summary], name: str) -> bool:
    return any(getattr(one.row, name) for one in summaries)


def _footnotes(table: ResultTable, summaries: Sequence[Summary]) -> list[str]:
    """What is to be said of single rows; rows of which the same is said stand together."""
    said: dict[str, list[str]] = {}
    for one in summaries:
        if text := "; ".join(filter(None, (notes(one), by_step(table, one.row)))):
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
