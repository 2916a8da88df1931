"""What a row's scores amount to: headline and second average, interval, rank among rows it may be compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import stats
from harness.evidence.result_file import ResultFile, Row, TaskItems, differing


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
    rank: int | None
    """1 + the number of rows of the same key that are better beyond noise; None where the row cannot be ranked."""
    tied: tuple[str, ...]
    """Ranked rows of the same key that cannot be told apart from this one."""
    why_unranked: str

    @property
    def seeds(self) -> int:
        return len(self.row.seeds)


def tables(task: TaskItems, row: Row, average: str | None = None) -> stats.Clustered:
    """The row's scores clustered by context; ``average`` defaults to the task's."""
    sizes = [len(queries) for _, queries in task.items]
    chosen = average or task.average
    return stats.cluster(row.scores, sizes, row.seeds, "micro" if chosen == "micro" else "macro")


@dataclass(frozen=True)
class Entry:
    """A row, and the file that it stands in."""

    found: ResultFile
    row: Row

    @property
    def group(self) -> tuple[str, str, object]:
        """What rows must share to be ranked together: kind, comparability key, and the very same items."""
        return self.found.kind, json.dumps(dict(self.row.key), sort_keys=True), self.found.task.items


def summarise(found: ResultFile) -> list[Summary]:
    """One summary a row, in the file's order. Rows are ranked only within one comparability key."""
    return summarise_all([Entry(found, row) for row in found.rows])


def summarise_all(entries: Sequence[Entry]) -> list[Summary]:
    """One summary an entry, in order; entries of different files are ranked together where their keys agree."""
    ranks = _ranks(entries)
    return [_summary(entry, *ranks.get(index, (None, ()))) for index, entry in enumerate(entries)]


def _summary(entry: Entry, rank: int | None, tied: tuple[str, ...]) -> Summary:
    task, row = entry.found.task, entry.row
    why = _not_shares(task) or why_unranked(row)
    if row.scored == 0:
        shown = row.reported
        contexts, queries = (shown.contexts, shown.queries) if shown else (len(task.items), task.queries)
        score = shown.score if shown else None
        return Summary(row, score, None, None, None, None, contexts, queries, rank, tied, why)
    headline = tables(task, row)
    spread = stats.two_level(headline)
    macro, micro = tables(task, row, "macro").mean, tables(task, row, "micro").mean
    return Summary(
        row, headline.mean, spread.low, spread.high, macro, micro, len(task.items), task.queries, rank, tied, why
    )


def why_unranked(row: Row) -> str:
    """Why a row has no rank; "" where it may have one."""
    if not row.scores:
        return "figure from a paper, no rows"
    if row.scored == 0:
        return "nothing measured"
    if not row.complete:
        return f"incomplete: {row.scored} of {row.expected} scored"
    if len(row.seeds) == 1:
        return "1 seed, unranked"
    return ""


def _not_shares(task: TaskItems) -> str:
    """Why no row of a table is ranked; "" where its values are shares in [0, 1], which the ranks are made for."""
    return f"in {task.unit}, unranked" if task.unit else ""


def said_of_reward(row: Row) -> tuple[str, ...]:
    """The reliability of the outer loop's reward, round by round, with its interval."""
    return tuple(
        f"reward reliability, {_where(one)}: {one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"
        for one in row.reliability
    )


def _where(one: Mapping[str, Any]) -> str:
    seed = f"seed {one['seed']}, " if "seed" in one else ""
    return f"{seed}round {one['round']}"


def _ranks(entries: Sequence[Entry]) -> dict[int, tuple[int, tuple[str, ...]]]:
    """Ranks by place. Pairs are told apart by the paired two-level bootstrap at 5%, Holm-adjusted in the group."""
    groups: dict[tuple[str, str, object], list[int]] = {}
    for place, entry in enumerate(entries):
        if not why_unranked(entry.row) and not _not_shares(entry.found.task):
            groups.setdefault(entry.group, []).append(place)
    ranks: dict[int, tuple[int, tuple[str, ...]]] = {}
    for group in groups.values():
        better = better_beyond_noise([tables(entries[place].found.task, entries[place].row) for place in group])
        for at, place in enumerate(group):
            tied = tuple(
                entries[group[other]].row.method
                for other in range(len(group))
                if other != at and not better[other][at] and not better[at][other]
            )
            ranks[place] = (1 + sum(better[other][at] for other in range(len(group))), tied)
    return ranks


def better_beyond_noise(clustered: Sequence[stats.Clustered]) -> list[list[bool]]:
    """``[i][j]``: whether row i is better than row j by more than noise, over rows of the same items."""
    count = len(clustered)
    better = [[False] * count for _ in range(count)]
    if count < 2:
        return better
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    gaps = [stats.difference(clustered[i], clustered[j]) for i, j in pairs]
    for (i, j), gap, adjusted in zip(pairs, gaps, stats.holm([gap.p for gap in gaps]), strict=True):
        if adjusted < 1 - stats.LEVEL:
            winner, loser = (j, i) if gap.value > 0 else (i, j)
            better[winner][loser] = True
    return better


def key_differences(rows: Sequence[Row]) -> list[str]:
    """Fields in which the keys of some rows differ: why they are not all ranked together."""
    if not rows:
        return []
    names = {name for row in rows[1:] for name in differing(rows[0].key, row.key)}
    return sorted(names)
