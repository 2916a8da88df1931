"""A row's figures: its average and the other average, an interval, and its ranks among comparable rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness import stats
from harness.evidence import judge_error
from harness.evidence.conditions import differing
from harness.evidence.learnt import learnt
from harness.evidence.result import ResultFile, Row, TaskItems


@dataclass(frozen=True)
class Summary:
    """One line of a leaderboard. Scores are fractions; None where nothing was measured."""

    row: Row
    score: float | None
    low: float | None
    high: float | None
    macro: float | None
    micro: float | None
    contexts: int
    queries: int
    ranks: stats.RankSet | None
    """The ranks that the row may have among rows of the same conditions; None where it cannot be ranked."""
    why_unranked: str

    @property
    def rank(self) -> int | None:
        """The best rank that the row may have: 1 + the number of rows of its group that are better beyond noise."""
        return self.ranks.low if self.ranks else None

    @property
    def seeds(self) -> int:
        return len(self.row.seeds)


def tables(task: TaskItems, row: Row, average: str | None = None) -> stats.Clustered:
    """The row's scores clustered by context; ``average`` defaults to the task's."""
    sizes = [len(queries) for _, queries in task.items]
    chosen = average or task.average
    return stats.cluster(row.scores, sizes, row.seeds, "micro" if chosen == "micro" else "macro", learnt=learnt(row))


@dataclass(frozen=True)
class Entry:
    """A row, and the file that it is from."""

    found: ResultFile
    row: Row

    @property
    def group(self) -> tuple[str, str, object]:
        """What rows must share to be ranked together: kind, conditions, and the very same items."""
        return self.found.kind, json.dumps(dict(self.row.conditions), sort_keys=True), self.found.task.items


def summarise(found: ResultFile) -> list[Summary]:
    """One summary per row, in the file's order. Only rows of equal conditions are ranked together."""
    return summarise_all([Entry(found, row) for row in found.rows])


def summarise_all(entries: Sequence[Entry]) -> list[Summary]:
    """One summary per entry, in order; entries of different files are ranked together where their conditions agree."""
    headlines = [tables(entry.found.task, entry.row) if entry.row.scored else None for entry in entries]
    reasons = [
        _not_shares(entry.found.task) or why_unranked(entry.row, table)
        for entry, table in zip(entries, headlines, strict=True)
    ]
    groups: dict[tuple[str, str, object], list[int]] = {}
    for place, entry in enumerate(entries):
        if not reasons[place]:
            groups.setdefault(entry.group, []).append(place)
    ranks: dict[int, stats.RankSet] = {}
    for group in groups.values():
        ranked = [table for place in group if (table := headlines[place]) is not None]
        ranks.update(zip(group, stats.rank_sets(_better(ranked, entries[group[0]].row)), strict=True))
    return [
        _summary(entry, headline, ranks.get(place), why)
        for place, (entry, headline, why) in enumerate(zip(entries, headlines, reasons, strict=True))
    ]


def _better(ranked: Sequence[stats.Clustered], row: Row) -> stats.Flags:
    """``[i, j]``: whether row i is better than row j beyond noise and beyond the error of ``row``'s judge, which is
    theirs too."""
    better = stats.better_beyond_noise(ranked)
    if judge_error.of_row(row) is None:
        return better
    intervals = [stats.mean_interval(one) or stats.Interval(0.0, 1.0) for one in ranked]
    return np.array(judge_error.beyond(better.tolist(), [one.mean for one in ranked], intervals, row))


def _summary(entry: Entry, headline: stats.Clustered | None, ranks: stats.RankSet | None, why: str) -> Summary:
    task, row = entry.found.task, entry.row
    if headline is None:
        shown = row.reported
        contexts, queries = (shown.contexts, shown.queries) if shown else (len(task.items), task.queries)
        score = shown.score if shown else None
        return Summary(row, score, None, None, None, None, contexts, queries, None, why)
    spread = stats.mean_interval(headline, bounded=not task.unit)
    if spread is not None:
        spread = judge_error.of_score(headline.mean, spread, row)
    macro, micro = (
        headline.mean if average == task.average else tables(task, row, average).mean for average in ("macro", "micro")
    )
    low, high = (spread.low, spread.high) if spread else (None, None)
    return Summary(row, headline.mean, low, high, macro, micro, len(task.items), task.queries, ranks, why)


def why_unranked(row: Row, table: stats.Clustered | None) -> str:
    """Why a row has no rank; "" where it may have one. ``table`` holds its scores where any were measured."""
    if not row.scores:
        return "figure from a paper, no rows"
    if table is None:
        return "nothing measured"
    if not row.complete:
        return f"incomplete: {row.scored} of {row.expected} scored"
    if row.unranked:
        return f"unranked: {'; '.join(row.unranked)}"
    if table.contexts < stats.MIN_CONTEXTS:
        return f"{table.contexts} contexts, fewer than {stats.MIN_CONTEXTS}, unranked"
    if table.one_draw:
        count = len(row.seeds)
        return "1 seed, unranked" if count == 1 else f"{count} seeds with identical scores count as 1, unranked"
    return ""


def _not_shares(task: TaskItems) -> str:
    """Why no row of a table is ranked; "" where its values are shares in [0, 1], which ranks are made for."""
    return f"in {task.unit}, unranked" if task.unit else ""


def said_of_reward(row: Row) -> tuple[str, ...]:
    """Notes on the reliability of the outer loop's reward, round by round, with its interval."""
    return tuple(
        f"reward reliability, {_where(one)}: {one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"
        for one in row.reliability
    )


def _where(one: Mapping[str, Any]) -> str:
    seed = f"seed {one['seed']}, " if "seed" in one else ""
    return f"{seed}round {one['round']}"


def differing_conditions(rows: Sequence[Row]) -> list[str]:
    """Names of the conditions in which some of the rows differ: why they are not all ranked together."""
    if not rows:
        return []
    names = {name for row in rows[1:] for name in differing(rows[0].conditions, row.conditions)}
    return sorted(names)
