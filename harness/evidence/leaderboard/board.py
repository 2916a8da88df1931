"""The leaderboard as a list of sections, made from all result files of a folder; every rendering starts from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.evidence import judge_error
from harness.evidence.conditions import differing, in_words
from harness.evidence.leaderboard.fold import Folded, fold
from harness.evidence.leaderboard.summary import Entry, Summary, said_of_reward, summarise_all
from harness.evidence.leaderboard.table import by_step
from harness.evidence.result import Kind, ResultFile, Row
from harness.evidence.result_file import ResultError, read, result_paths
from harness.evidence.retained import FINAL, Retained, retained

_UNSHOWN = frozenset({"task", "version", "items", "metric"})
"""Conditions that the section's title or its numbers already say."""


@dataclass(frozen=True)
class Line:
    """One row, ready to be shown. Scores are fractions, costs are means over seeds; None means not measured."""

    run: str
    method: str
    group: str
    """Where the row's conditions differ from those of other rows in the section; ranks hold within one group."""
    plugin: str
    model: str
    editor_model: str
    start_model: str
    rank: int | None
    """The best rank that the row may have at 95%; ``rank_high`` is the worst."""
    rank_high: int | None
    score: float | None
    low: float | None
    high: float | None
    macro: float | None
    micro: float | None
    contexts: int
    queries: int
    seeds: int
    scored: int
    expected: int
    failed: int
    unparsed: int
    errors: int
    edit_tokens: float | None
    generation_s: float | None
    update_s: float | None
    grading_s: float | None
    outer_s: float | None
    meta_s: float | None
    usd: float | None
    labels: float | None
    outside_teacher: bool
    open_book: bool
    transductive: bool
    paper: str
    notes: tuple[str, ...]
    curve: tuple[Mapping[str, Any], ...]
    reliability: tuple[Mapping[str, Any], ...]
    folded: tuple[Folded, ...]
    """Older runs of the same method and model under the same conditions, the newest first; they are not ranked."""


@dataclass(frozen=True)
class Section:
    """All rows of one kind, task, split, metric and table; rows that may be compared share a group."""

    kind: Kind
    title: str
    table: str
    """"" for headlines; else the table that is shown, a page beside them."""
    average: str
    metric: str
    unit: str
    """"" for shares in [0, 1]."""
    source: str
    lines: tuple[Line, ...]
    retained: tuple[Retained, ...] = ()
    """Of the table ``acc``: what its rows learnt and what is left of it; drawn, and not among the JSON's values."""

    @property
    def groups(self) -> dict[str, list[Line]]:
        """Conditions in words -> the rows that are ranked together, the group with the best row first."""
        found: dict[str, list[Line]] = {}
        for line in self.lines:
            found.setdefault(line.group, []).append(line)
        return found


def build(folder: str | Path, paths: Sequence[Path] | None = None) -> list[Section]:
    """The sections of a folder: measured ones first, each with its best row first.

    Args:
        paths: the result files to use; by default all of the folder.

    Raises:
        ResultError: a file cannot be read, or two files claim the same run.
    """
    files = [read(path) for path in (result_paths(folder) if paths is None else paths)]
    runs: dict[tuple[str, str], None] = {}
    for found in files:
        if (found.task.name, found.run) in runs:
            raise ResultError(f"{folder}: two result files of run {found.run!r}; remove one")
        runs[found.task.name, found.run] = None
    return sections(files)


def sections(files: Sequence[ResultFile]) -> list[Section]:
    """Result files as sections, of each task its headline first.

    Rows of different files share a section where conditions and items agree.
    """
    views = [(found, "") for found in files]
    views += [(found.of_table(one.name), one.name) for found in files for one in found.tables if one is not found.head]
    shown = [
        _Shown(entry, table, folded)
        for table in dict.fromkeys(table for _, table in views)
        for entry, folded in fold([Entry(found, row) for found, of in views if of == table for row in found.rows])
    ]
    made: dict[_Name, list[tuple[_Shown, Summary]]] = {}
    for one, summary in zip(shown, summarise_all([one.entry for one in shown]), strict=True):
        found, row = one.entry.found, one.entry.row
        metric = str(row.conditions.get("metric") or found.task.metric)
        name = _Name(found.kind, _task(found), _title(found, metric, one.table), one.table, metric)
        made.setdefault(name, []).append((one, summary))
    order = sorted(made, key=lambda name: (name.kind != "measured", name.task, name.table != "", name.title))
    kept = {(found.task.name, found.run): retained(found) for found in files}
    return [_section(name, made[name], kept) for name in order]


@dataclass(frozen=True)
class _Shown:
    entry: Entry
    table: str
    folded: tuple[Folded, ...]


@dataclass(frozen=True)
class _Name:
    """What the rows of one section share."""

    kind: Kind
    task: str
    title: str
    table: str
    metric: str


def _task(found: ResultFile) -> str:
    return f"{found.task.name} {found.task.version}, {found.task.split}"


def _title(found: ResultFile, metric: str, table: str) -> str:
    title = f"{_task(found)}, {metric}, {found.task.average} average"
    return f"{title}: {table}" if table else title


def _section(
    name: _Name, rows: Sequence[tuple[_Shown, Summary]], kept: Mapping[tuple[str, str], Sequence[Retained]]
) -> Section:
    groups: dict[tuple[str, str, object], list[tuple[_Shown, Summary]]] = {}
    for one, summary in rows:
        groups.setdefault(one.entry.group, []).append((one, summary))
    conditions = [group[0][0].entry.row.conditions for group in groups.values()]
    differ = sorted({field for one in conditions for field in differing(conditions[0], one)} - _UNSHOWN)
    sizes = {len(group[0][0].entry.found.task.items) for group in groups.values()}
    blocks = []
    first = sorted(
        ((group[0][0].entry.found, group[0][0].entry.row) for group in groups.values()),
        key=lambda one: json.dumps(dict(one[1].conditions), sort_keys=True),
    )
    for group in groups.values():
        entry = group[0][0].entry
        items = entry.found.task.items
        names = [in_words(field, (entry.found, entry.row), first) for field in differ]
        said = ", ".join([*names, *([f"{len(items)} contexts"] if len(sizes) > 1 and items else [])])
        blocks.append(sorted((_line(one, summary, said) for one, summary in group), key=_order))
    blocks.sort(key=lambda block: (-max(line.score or 0.0 for line in block), block[0].group))
    task = rows[0][0].entry.found.task
    source = "; ".join(sorted({one.entry.found.source for one, _ in rows}))
    lines = tuple(line for block in blocks for line in block)
    shown = {(one.entry.found.task.name, one.entry.found.run, one.entry.row.method) for one, _ in rows}
    drawn = [one for at, mine in kept.items() for one in mine if name.table == FINAL and (*at, one.method) in shown]
    return Section(name.kind, name.title, name.table, task.average, name.metric, task.unit, source, lines, tuple(drawn))


def _order(line: Line) -> tuple[bool, int, float, str, str]:
    return line.rank is None, line.rank or 0, -(line.score or 0.0), line.method, line.run


def _line(shown: _Shown, summary: Summary, group: str) -> Line:
    entry, row = shown.entry, shown.entry.row
    return Line(
        run=entry.found.run,
        method=row.method,
        group=group,
        plugin=row.plugin,
        model=entry.found.model.name,
        editor_model=row.editor_model,
        start_model=row.start_model,
        rank=summary.rank,
        rank_high=summary.ranks.high if summary.ranks else None,
        score=summary.score,
        low=summary.low,
        high=summary.high,
        macro=summary.macro,
        micro=summary.micro,
        contexts=summary.contexts,
        queries=summary.queries,
        seeds=len(row.seeds),
        scored=row.scored,
        expected=row.expected,
        failed=row.failed,
        unparsed=row.unparsed,
        errors=row.errors,
        edit_tokens=_per_seed(row, "edit_tokens"),
        generation_s=_per_seed(row, "generation_s"),
        update_s=_per_seed(row, "update_s"),
        grading_s=_per_seed(row, "grading_s"),
        outer_s=_per_seed(row, "outer_s"),
        meta_s=_per_seed(row, "meta_s"),
        usd=_per_seed(row, "usd"),
        labels=_per_seed(row, "labels"),
        outside_teacher=row.card.outside_teacher,
        open_book=row.card.open_book,
        transductive=row.card.transductive,
        paper=row.card.paper,
        notes=(
            *([summary.why_unranked] if summary.why_unranked else []),
            *row.notes,
            *said_of_reward(row),
            *_graded(row),
            *filter(None, [by_step(entry.found.head, row)]),
        ),
        curve=row.curve,
        reliability=row.reliability,
        folded=shown.folded,
    )


def _graded(row: Row) -> list[str]:
    return [said] if row.scored and (said := judge_error.note(row)) else []


def _per_seed(row: Row, name: str) -> float | None:
    total = row.costs.get(name)
    return None if total is None else total / max(1, len(row.seeds))


def as_json(made: Sequence[Section]) -> list[dict[str, Any]]:
    """The sections as plain JSON values, rounded to what a reader can use."""
    return [_rounded({name: value for name, value in asdict(one).items() if name != "retained"}) for one in made]


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value
