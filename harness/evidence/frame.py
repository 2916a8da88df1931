"""``harness.results(...)``: result files as a pandas table, one line per score or per row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from harness.errors import UsageError
from harness.evidence.leaderboard.summary import Entry, summarise_all
from harness.evidence.result import ResultFile, Row, Table
from harness.evidence.sources import open_file
from harness.reading import user_path

if TYPE_CHECKING:
    import pandas

STATUS = {"o": "ok", "f": "failed", "u": "unparsed", "e": "error", "-": "missing"}
"""Letter of a result file -> the word for it."""


class HasResult(Protocol):
    """Anything with a result file, such as the :class:`harness.Run` that ``harness.run`` returns."""

    @property
    def result(self) -> ResultFile: ...


def results(
    *sources: str | Path | HasResult, table: str = "", per: Literal["query", "row"] = "query"
) -> pandas.DataFrame:
    """The results of runs as a pandas table.

    With ``per="query"`` there is one line per method, seed, query and step: ``run method seed step context query value
    status``. ``value`` is in the table's unit (in [0, 1] where it has none), 0 where the status is ``failed``, and not
    a number where it is ``error`` or ``missing``. With ``per="row"`` there is one line per method: ``run kind task
    method plugin protocol score low high rank seeds contexts queries scored failed unparsed errors why_unranked``,
    ``cost.*`` for each cost and ``condition.*`` for each of the row's conditions. ``score`` is the task's average with
    its 95% interval, as on leaderboards; ``rank`` is among the rows of all sources with the same conditions and items.

    Args:
        sources: runs, folders of runs, result files or published logs; without any, the folder ``runs``.
        table: a table of the result files, such as ``retention``, or ``NAME@STEP``; "" for the headline.

    Raises:
        UsageError: there is no such run or table, or pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise UsageError("harness.results needs pandas: pip install 'selfadapt-harness[pandas]'") from None
    if per not in ("query", "row"):
        raise UsageError(f"harness.results: per is 'query' or 'row', not {per!r}")
    found = [one for source in sources or ("runs",) for one in _opened(source, table)]
    lines = (line for one in found for line in _scores(one)) if per == "query" else _rows(found)
    return pandas.DataFrame(lines)


def _opened(source: str | Path | HasResult, table: str) -> Iterator[ResultFile]:
    if not isinstance(source, str | Path):
        yield source.result.of_table(table) if table else source.result
        return
    path = user_path(source)
    inside = sorted(path.glob("*/result.json")) if path.is_dir() and not (path / "config.json").exists() else []
    for one in inside or [path]:
        yield open_file(one, table=table)


def _scores(found: ResultFile) -> Iterator[dict[str, Any]]:
    table = found.head
    for place, step in enumerate(table.steps or (None,)):
        at = table.at(step) if step is not None else table
        for row in at.rows:
            yield from _scores_of(found.run, at, row, table.steps[place] if table.steps else None)


def _scores_of(run: str, table: Table, row: Row, step: int | None) -> Iterator[dict[str, Any]]:
    asked = [(context, query) for context, queries in table.task.items for query in queries]
    for seed, values, status in zip(row.seeds, row.scores, row.status, strict=True):
        for (context, query), value, letter in zip(asked, values, status, strict=True):
            yield {
                "run": run,
                "method": row.method,
                "seed": seed,
                "step": step,
                "context": context,
                "query": query,
                "value": float("nan") if value is None else value,
                "status": STATUS[letter],
            }


def _rows(found: list[ResultFile]) -> Iterator[dict[str, Any]]:
    entries = [Entry(one, row) for one in found for row in one.rows]
    for entry, summary in zip(entries, summarise_all(entries), strict=True):
        row = entry.row
        yield {
            "run": entry.found.run,
            "kind": entry.found.kind,
            "task": entry.found.task.name,
            "method": row.method,
            "plugin": row.plugin,
            "protocol": row.protocol,
            "score": summary.score,
            "low": summary.low,
            "high": summary.high,
            "rank": summary.rank,
            "seeds": summary.seeds,
            "contexts": summary.contexts,
            "queries": summary.queries,
            "scored": row.scored,
            "failed": row.failed,
            "unparsed": row.unparsed,
            "errors": row.errors,
            "why_unranked": summary.why_unranked,
            **{f"cost.{name}": cost for name, cost in row.costs.items()},
            **{f"condition.{name}": value for name, value in row.conditions.items()},
        }
