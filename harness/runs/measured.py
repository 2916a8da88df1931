"""A protocol's measurements for one method and one seed: checked, and collected table by table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.api import HEADLINE, EvaluationProtocol, Measure, Measurement, Score
from harness.errors import PluginError, nearest
from harness.registry.build import BuiltComponent
from harness.registry.plugin import blaming
from harness.runs.bench import RunBench
from harness.runs.options import TABLE_NAME

Cell = tuple[float | None, str]
"""A query's value (the mean over its samples) and its status, a letter of :mod:`harness.evidence.result`."""


@dataclass
class SeedTable:
    """All measurements of one name."""

    name: str
    measure: Measure
    asked: str
    """The bench's measure that gave the scores; "" where the protocol has a measure of its own."""
    contexts: dict[str, tuple[str, ...]]
    """Context -> its queries, in order."""
    scores: dict[int | None, Sequence[Score]] = field(default_factory=dict)
    """Step -> scores as they were yielded; the step is None where the protocol counts none."""

    @property
    def last(self) -> Sequence[Score]:
        """The scores of the last step, which make the table's figure."""
        return self.scores[max(self.scores, key=lambda step: -1 if step is None else step)]

    def cells(self, step: int | None) -> dict[str, Cell]:
        """Query -> value and status at a step, without the queries that were not asked."""
        by_query: dict[str, list[Score]] = {}
        for score in self.scores.get(step, ()):
            by_query.setdefault(score.query, []).append(score)
        return {query: over_samples(scores, bounded=not self.measure.unit) for query, scores in by_query.items()}

    def samples(self) -> int:
        """The largest number of scores that a query has at the last step."""
        return max(map(len, _by_context(self.last).values()), default=0)

    def by_sample(self) -> list[list[list[Score]]]:
        """``[context][sample]`` -> the scores of the context's queries, at the last step."""
        grouped = _by_context(self.last)
        out = []
        for context, queries in self.contexts.items():
            mine = [grouped.get((context, query), []) for query in queries]
            out.append([list(sample) for sample in zip(*mine, strict=False)])
        return out

    def macro(self) -> float | None:
        """Mean over contexts of the mean over all scores of their queries; None where one is in error."""
        values_of: dict[str, list[float | None]] = {context: [] for context in self.contexts}
        for score in self.last:
            values_of[score.episode].append(score.value)
        means = []
        for values in values_of.values():
            if any(value is None for value in values):
                return None
            if values:
                means.append(sum(value for value in values if value is not None) / len(values))
        return sum(means) / len(means) if means else None


def take(protocol: BuiltComponent[EvaluationProtocol], bench: RunBench) -> dict[str, SeedTable]:
    """Run a protocol: table -> what it measured, the headline first.

    Raises:
        PluginError: the protocol raised, or yielded anything but valid measurements of its items.
    """
    found: dict[str, SeedTable] = {}
    who = f"{protocol.plugin}: protocol {protocol.name!r}"
    for one in _yielded(protocol, bench, who):
        fault = _fault(one, bench, found)
        if fault:
            raise PluginError(f"{who}: {fault}")
        if one.name not in found:
            found[one.name] = _table(one, bench)
        table = found[one.name]
        fault = _add(table, one, bench)
        if fault:
            raise PluginError(f"{who}: measurement {one.name!r}: {fault}")
    if HEADLINE not in found:
        raise PluginError(f"{who} yielded no measurement {HEADLINE!r}, which rows are ranked by")
    return {HEADLINE: found.pop(HEADLINE), **found}


def _yielded(protocol: BuiltComponent[EvaluationProtocol], bench: RunBench, who: str) -> Iterator[Any]:
    with blaming(f"{who} raised"):
        yield from protocol.instance.measure(bench)


def _fault(one: Any, bench: RunBench, found: Mapping[str, SeedTable]) -> str:
    """What is wrong with a measurement apart from its scores; "" where nothing is."""
    if not isinstance(one, Measurement):
        return f"it yielded a {type(one).__name__}, not a Measurement"
    if not isinstance(one.name, str) or not TABLE_NAME.fullmatch(one.name):
        return f"{one.name!r} is not a table name: letters, digits, '-', '_' and '.'"
    asked = one.measure or one.name
    if isinstance(asked, str) and asked not in bench.measures:
        return f"measurement {one.name!r}: there is no measure {asked!r}.{nearest(asked, bench.measures)}"
    if one.name == HEADLINE and asked != HEADLINE:
        return f"measurement {HEADLINE!r} must be of the run's own task and evaluator, not of another measure"
    if one.step is not None and (type(one.step) is not int or one.step < 0):
        return f"measurement {one.name!r}: a step is an integer of 0 or more, not {one.step!r}"
    before = found.get(one.name)
    if before is None:
        return ""
    if one.step in before.scores:
        return f"it yielded measurement {one.name!r} twice{'' if one.step is None else f' at step {one.step}'}"
    if (one.step is None) != (None in before.scores):
        return f"measurement {one.name!r}: either every measurement of a name has a step, or there is only one"
    if before.measure != (asked if isinstance(asked, Measure) else bench.measures[asked]):
        return f"measurement {one.name!r}: its steps are of different measures"
    return ""


def _table(one: Measurement, bench: RunBench) -> SeedTable:
    asked = one.measure or one.name
    if isinstance(asked, Measure):
        return SeedTable(one.name, asked, "", {})
    # The headline covers the whole split: an episode that a protocol leaves out counts as missing.
    episodes = bench.full(asked) if one.name == HEADLINE else ()
    contexts = {episode.id: tuple(query.id for query in episode.queries) for episode in episodes}
    return SeedTable(one.name, bench.measures[asked], asked, contexts)


def _add(table: SeedTable, one: Measurement, bench: RunBench) -> str:
    """Add a measurement's scores to its table. Returns what is wrong with them, or ""."""
    scores = list(one.scores)
    for score in scores:
        if not isinstance(score, Score):
            return f"a {type(score).__name__} is not a Score"
        if (score.value is None) != (score.status == "error"):
            return f"query {score.query!r} must have a value exactly when its status is not error"
        if score.value is not None and not math.isfinite(score.value):
            return f"query {score.query!r} has the value {score.value}"
        if score.value is not None and not table.measure.unit and not 0 <= score.value <= 1:
            return (
                f"query {score.query!r} has the value {score.value}, which is not in [0, 1]; a measure may have a unit"
            )
    if table.asked:
        known = {e.id: tuple(query.id for query in e.queries) for e in bench.full(table.asked)}
        for score in scores:
            if score.query not in known.get(score.episode, ()):
                return f"measure {table.asked!r} has no query {score.query!r} of an episode {score.episode!r}"
        mentioned = {score.episode for score in scores} | table.contexts.keys()
        table.contexts = {episode: queries for episode, queries in known.items() if episode in mentioned}
    else:
        for score in scores:
            queries = table.contexts.setdefault(score.episode, ())
            if score.query not in queries:
                table.contexts[score.episode] = (*queries, score.query)
        every = [query for queries in table.contexts.values() for query in queries]
        if len(set(every)) != len(every):
            return "a query id occurs in two episodes"
    table.scores[one.step] = scores
    return ""


def over_samples(scores: Sequence[Score], *, bounded: bool) -> Cell:
    """The mean over a query's samples, and the query's status."""
    if any(score.status == "error" for score in scores):
        return None, "e"
    if not bounded:
        # A failed answer is wrong: 0 where the value is a share, but no value where it has a unit.
        scores = [score for score in scores if score.status != "failed"]
        if not scores:
            return None, "-"
    if all(score.status == "failed" for score in scores):
        unparsed = all(str(score.measures.get("reason", "")).startswith("unparsed") for score in scores)
        return 0.0, "u" if unparsed else "f"
    value = sum(score.value or 0.0 for score in scores) / len(scores)
    return round(value, 6), "o"


def sample_status(tables: Sequence[SeedTable], queries: Sequence[str], step: int | None) -> tuple[tuple[str, ...], ...]:
    """``[seed][query]``: the status of every sample at a step; empty where no query has more than one."""
    out = []
    for table in tables:
        status: dict[str, str] = {}
        for score in table.scores.get(None if None in table.scores else step, ()):
            status[score.query] = status.get(score.query, "") + over_samples([score], bounded=True)[1]
        out.append(tuple(status.get(query, "") for query in queries))
    several = any(len(one) > 1 for row in out for one in row)
    unit = any(table.measure.unit for table in tables)
    return tuple(out) if several and not unit else ()


def _by_context(scores: Sequence[Score]) -> dict[tuple[str, str], list[Score]]:
    grouped: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        grouped.setdefault((score.episode, score.query), []).append(score)
    return grouped
