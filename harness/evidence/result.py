"""The result of a run as records: named tables over a task's items, one of which is the headline.

A table holds its task's items once and one row per method. Scores are kept per seed and query in the order of the
items; every score has a status of one letter:

====== ================================================================= ==============
status meaning                                                           value
====== ================================================================= ==============
``o``  scored (a table with a unit: any finite number)                   in [0, 1]
``f``  failed: the method's doing, counts as wrong                       0
``u``  unparsed: the answer (0) or the judge's verdict (null) is unclear 0 or null
``e``  error: ours; has no value                                         null
``-``  missing: expected, but never measured                             null
====== ================================================================= ==============
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Final, Literal

from harness.api import HEADLINE
from harness.errors import UsageError, nearest

SCHEMA: Final = 2

Kind = Literal["measured", "published"]
Average = Literal["macro", "micro"]
"""``macro``: the mean over contexts of each context's mean over its queries. ``micro``: the mean over queries."""

_STRICT = {"extra": "forbid", "allow_inf_nan": False}


@dataclass(frozen=True)
class TaskItems:
    """The task that was asked, with its items in their fixed order."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    name: str
    version: str
    split: str
    metric: str
    items: tuple[tuple[str, tuple[str, ...]], ...]
    """``(context id, query ids)`` in order; empty where only a figure from a paper is known."""
    average: Average = "macro"
    """The average that makes the task's figure (SEAL's single-passage table is macro, continued pretraining
    micro)."""
    unit: str = ""
    """"" for scores in [0, 1]; else the unit of the values, such as ``nats``; those are compared, not ranked."""
    lower_is_better: bool = False

    @property
    def queries(self) -> int:
        return sum(len(queries) for _, queries in self.items)


@dataclass(frozen=True)
class ModelCard:
    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    name: str
    digest: str = ""


@dataclass(frozen=True)
class Card:
    """What the method was allowed, from :class:`harness.api.Method`."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    sees: str = "context"
    transductive: bool = False
    open_book: bool = False
    outside_teacher: bool = False
    paper: str = ""


@dataclass(frozen=True)
class Reported:
    """A figure that a paper prints without its rows; shown, never ranked or paired."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    score: float
    contexts: int = 0
    queries: int = 0
    where: str = ""


@dataclass(frozen=True)
class Snapshot:
    """A row's scores at an earlier step, in the form of :attr:`Row.scores` and :attr:`Row.status`, which are the last
    step's."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    scores: tuple[tuple[float | None, ...], ...]
    status: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One method under one configuration, over all its seeds."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    method: str
    plugin: str
    card: Card
    protocol: str
    """How it was deployed and measured: ``single`` (one update per edit), ``cpt`` (all edits in one update), ..."""
    editor_model: str
    """Who wrote the edits; "" where nobody did."""
    start_model: str
    """What the updates start from: the bare model, or a trained policy."""
    conditions: Mapping[str, str | int | float | bool | None]
    """What was asked, of which model and under which settings: rows are ranked, paired and gated only where every field
    agrees. A null field is not recorded."""
    seeds: tuple[int, ...]
    scores: tuple[tuple[float | None, ...], ...]
    """``[seed][query]`` in the items' order, in [0, 1] unless the table has a unit; at the table's last step."""
    status: tuple[str, ...]
    """One string per seed, one letter per query; the module's docstring lists the letters."""
    expected: int
    scored: int
    failed: int
    unparsed: int
    errors: int
    costs: Mapping[str, float | None] = field(default_factory=dict)
    """``generation_s update_s grading_s outer_s`` in seconds and ``meta_s``, the one-off training of components before
    any run; ``edit_tokens``; ``labels``, queries that the outer loop graded against a reference; ``usd`` in US dollars:
    all summed over seeds. An absent or null entry was not measured."""
    curve: tuple[Mapping[str, Any], ...] = ()
    """``{"round", "validation", "test"?}`` for each round of an outer loop."""
    reliability: tuple[Mapping[str, Any], ...] = ()
    """``{"round", "value", "low", "high"}`` for each round of an outer loop."""
    notes: tuple[str, ...] = ()
    unranked: tuple[str, ...] = ()
    """Why the row has no rank although every query was scored: failed training, or a card that is not true."""
    happened: Mapping[str, bool] = field(default_factory=dict)
    """What the run's own record says of what the card declares: ``open_book``, ``queries``, ``transductive`` and
    ``outside_teacher``. Empty where it is not known."""
    samples: tuple[tuple[str, ...], ...] = ()
    """``[seed][query]``: a string with the status of every sample; empty where each query has one sample."""
    reported: Reported | None = None
    earlier: tuple[Snapshot, ...] = ()
    """Parallel to the table's steps, without the last."""

    @property
    def missing(self) -> int:
        """How many queries were expected, but never measured."""
        return sum(status.count("-") for status in self.status)

    @property
    def complete(self) -> bool:
        """Whether every expected score has a value: only such rows are ranked."""
        return self.expected > 0 and self.scored == self.expected


@dataclass(frozen=True)
class Table:
    """One measure, for all rows."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    name: str
    task: TaskItems
    evaluator: str
    """Name of the evaluator; "" where it is not known."""
    rows: tuple[Row, ...]
    steps: tuple[int, ...] = ()
    """The steps at which the measure was taken, in rising order; empty where it was taken once."""

    def at(self, step: int) -> Table:
        """The table at one of its steps, without the others."""
        place = self.steps.index(step)
        if place == len(self.steps) - 1:
            return replace(self, steps=(), rows=tuple(replace(row, earlier=()) for row in self.rows))
        return replace(self, steps=(), rows=tuple(at_step(row, place, self.task.queries) for row in self.rows))


@dataclass(frozen=True)
class UsedComponent:
    """A component as it ran."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    kind: str
    name: str
    distribution: str
    """The distribution of the plugin that provides it; for a single-file plugin its file name."""
    code: str
    """Digest of all source code that it can reach, including that of nested components."""
    settings: Mapping[str, Any]
    """All settings, defaults included; a nested component's are under its slot's name."""


@dataclass(frozen=True)
class Provenance:
    """What was run, apart from the environment: settings, code and versions, each kept once for the whole file."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    options: Mapping[str, Any]
    """The run's own keys, defaults included (:class:`harness.runs.config.Options`)."""
    components: Mapping[str, UsedComponent]
    """Digest -> component; one that several rows share is kept once."""
    rows: Mapping[str, Mapping[str, str]]
    """Method -> slot -> a key of ``components``; besides slots ``task``, ``protocol``, ``roles.<role>`` (a model) and
    ``also.<table>.task`` or ``.evaluator``."""
    distributions: Mapping[str, str]
    """Version of the harness, of the plugins' distributions, and of the packages that their code imports."""


@dataclass(frozen=True)
class ResultFile:
    """The tables of one run."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    schema: Literal[2]
    run: str
    kind: Kind
    source: str
    """Where the figures come from: the command that gives a measured file again, or the publication of a published one.
    What a configuration file held stands in the command as ``--set``."""
    model: ModelCard
    environment: Mapping[str, Any]
    tables: tuple[Table, ...]
    headline: str = HEADLINE
    """Name of the table that rows are ranked, compared and gated by."""
    provenance: Provenance | None = None
    """None where it is not known: for a published file, or one made before provenance was kept."""

    @property
    def head(self) -> Table:
        """The headline table."""
        return next(table for table in self.tables if table.name == self.headline)

    @property
    def task(self) -> TaskItems:
        """The task of the headline table."""
        return self.head.task

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of the headline table."""
        return self.head.rows

    def of_table(self, name: str) -> ResultFile:
        """The same run with that table alone, as its headline; ``NAME@STEP`` is the table at one of its steps.

        Raises:
            UsageError: there is no such table or step.
        """
        wanted, _, step = name.partition("@")
        names = [table.name for table in self.tables]
        if wanted not in names:
            raise UsageError(f"{self.run}: no table {wanted!r}; it has {', '.join(names)}.{nearest(wanted, names)}")
        table = self.tables[names.index(wanted)]
        if step:
            if step not in map(str, table.steps):
                known = f"its steps are {', '.join(map(str, table.steps))}" if table.steps else "it has no steps"
                raise UsageError(f"{self.run}: table {wanted!r} has no step {step!r}; {known}")
            table = table.at(int(step))
        return replace(self, tables=(table,), headline=wanted)

    def with_rows(self, rows: Iterable[Row]) -> ResultFile:
        """The same run with other rows in its headline table."""
        new = replace(self.head, rows=tuple(rows))
        return replace(self, tables=tuple(new if table is self.head else table for table in self.tables))


def single_table(task: TaskItems, rows: Iterable[Row], evaluator: str = "") -> tuple[Table, ...]:
    """The tables of a file that has only a headline table."""
    return (Table(HEADLINE, task, evaluator, tuple(rows)),)


def make_row(*, scores: Sequence[Sequence[float | None]], status: Sequence[str], queries: int, **rest: Any) -> Row:
    """A row with its counts computed from scores and status.

    ``failed`` and ``unparsed`` count samples where a query has several; the other counts are of queries.

    Args:
        queries: the number of queries in the table's items.
        rest: the other fields of :class:`Row`.
    """
    kept = tuple(tuple(one) for one in scores)
    of_queries = tuple(status)
    of_samples = ["".join(one) for one in rest.get("samples") or ()] or of_queries
    return Row(
        scores=kept,
        status=of_queries,
        expected=queries * len(kept),
        scored=sum(value is not None for one in kept for value in one),
        failed=sum(one.count("f") for one in of_samples),
        unparsed=sum(one.count("u") for one in of_samples),
        errors=sum(one.count("e") for one in of_queries),
        **rest,
    )


def recounted(row: Row, queries: int) -> Row:
    """The row with its counts computed anew."""
    return make_row(scores=row.scores, status=row.status, queries=queries, **_uncounted(row))


def at_step(row: Row, place: int, queries: int) -> Row:
    """The row at an earlier step of its table.

    Args:
        place: of the step among :attr:`Table.steps`.
        queries: the number of queries in the table's items.
    """
    then = row.earlier[place]
    rest = {**_uncounted(row), "earlier": (), "samples": ()}
    return make_row(scores=then.scores, status=then.status, queries=queries, **rest)


def _uncounted(row: Row) -> dict[str, Any]:
    """The fields that :func:`make_row` does not compute."""
    counted = {"scores", "status", "expected", "scored", "failed", "unparsed", "errors"}
    return {name: getattr(row, name) for one in fields(Row) if (name := one.name) not in counted}


def status_of_samples(samples: str) -> str:
    """The status of a query from those of its samples: an ``error`` prevails, else one scored sample suffices."""
    if not samples or "e" in samples:
        return "e" if samples else "-"
    if "o" in samples:
        return "o"
    return "u" if set(samples) == {"u"} else "f"
