"""The result file: one JSON file per run, with the score of every query, so that runs can be paired offline.

A file holds named tables, one of which is the headline. A table holds its task's items once and one row per method.
Scores are kept per seed and query in the order of the items; every score has a status of one letter:

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

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from harness.api import HEADLINE, HarnessError
from harness.errors import UsageError, nearest
from harness.files import write_text
from harness.reading import parse_json, read_text, user_path

SCHEMA: Final = 2

Kind = Literal["measured", "published"]
Average = Literal["macro", "micro"]
"""``macro``: the mean over contexts of each context's mean over its queries. ``micro``: the mean over queries."""

_DEEP = 6
"""Depth from which a value is written on one line: at and below it are single seeds and contexts."""
_STRICT = {"extra": "forbid", "allow_inf_nan": False}


class ResultError(HarnessError):
    """A result file that cannot be read; the message names file, field and remedy."""


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
        return sum(letters.count("-") for letters in self.status)

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
        return replace(self, steps=(), rows=tuple(_at(row, place, self.task.queries) for row in self.rows))


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


def _at(row: Row, place: int, queries: int) -> Row:
    then = row.earlier[place]
    rest = {**_rest(row), "earlier": (), "samples": ()}
    return make_row(scores=then.scores, status=then.status, queries=queries, **rest)


def make_row(*, scores: Sequence[Sequence[float | None]], status: Sequence[str], queries: int, **rest: Any) -> Row:
    """A row with its counts computed from scores and status.

    ``failed`` and ``unparsed`` count samples where a query has several; the other counts are of queries.

    Args:
        queries: the number of queries in the table's items.
        rest: the other fields of :class:`Row`.
    """
    kept = tuple(tuple(one) for one in scores)
    letters = tuple(status)
    of_samples = ["".join(one) for one in rest.get("samples") or ()] or letters
    return Row(
        scores=kept,
        status=letters,
        expected=queries * len(kept),
        scored=sum(value is not None for one in kept for value in one),
        failed=sum(one.count("f") for one in of_samples),
        unparsed=sum(one.count("u") for one in of_samples),
        errors=sum(one.count("e") for one in letters),
        **rest,
    )


def read(path: str | Path) -> ResultFile:
    """Read and check a result file. Raises :class:`ResultError` naming the file and the field at fault."""
    where = Path(path)
    if not user_path(where, ResultError).exists():
        raise ResultError(f"{where}: no such result file")
    return parse(read_text(where, ResultError), str(where))


def parse(text: str, where: str) -> ResultFile:
    """A result file from its JSON text; ``where`` names it in messages."""
    from pydantic import ValidationError

    value = parse_json(text, where, ResultError)
    _check_schema(value, where)
    try:
        found: ResultFile = _adapter().validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field_path = ".".join(str(part) for part in first["loc"]) or "file"
        raise ResultError(f"{where}: {field_path}: {first['msg']}") from None
    return check(found, where)


def _check_schema(value: Any, where: str) -> None:
    """Refuse a file of another schema in one line, instead of naming its unknown fields."""
    schema = value.get("schema") if isinstance(value, dict) else None
    if type(schema) is not int or schema == SCHEMA:
        return
    remedy = (
        "upgrade selfadapt-harness" if schema > SCHEMA else "run it again, or read it with the version that made it"
    )
    raise ResultError(f"{where}: schema {schema}, and this harness reads schema {SCHEMA}; {remedy}")


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(ResultFile)


def check(found: ResultFile, where: str) -> ResultFile:
    """Return the file if scores, status, counts and items agree; otherwise raise :class:`ResultError`."""
    _unique([table.name for table in found.tables], f"{where}: tables: name")
    if all(table.name != found.headline for table in found.tables):
        raise ResultError(f"{where}: headline: there is no table {found.headline!r}")
    for table in found.tables:
        _check_table(table, found.kind, f"{where}: table {table.name!r}")
    known = found.provenance
    for method, slots in known.rows.items() if known else ():
        for slot, name in slots.items():
            if known and name not in known.components:
                raise ResultError(f"{where}: provenance.rows.{method}.{slot}: there is no component {name!r}")
    return found


def _check_table(table: Table, kind: Kind, where: str) -> None:
    contexts = [context for context, _ in table.task.items]
    queries = [query for _, asked in table.task.items for query in asked]
    _unique(contexts, f"{where}: task.items: context")
    _unique(queries, f"{where}: task.items: query")
    if list(table.steps) != sorted(set(table.steps)) or any(step < 0 for step in table.steps):
        raise ResultError(f"{where}: steps: {list(table.steps)} are not rising numbers from 0 on")
    for index, row in enumerate(table.rows):
        inside = f"{where}: rows.{index} ({row.method})"
        _check_row(row, len(queries), inside, bounded=not table.task.unit)
        check_comparable(table, kind, row, inside)
        if len(row.earlier) != (max(0, len(table.steps) - 1) if row.scores else 0):
            raise ResultError(f"{inside}: earlier: {len(row.earlier)} steps before the last of {len(table.steps)}")
        for place, _ in enumerate(row.earlier):
            then = _at(row, place, len(queries))
            _check_row(then, len(queries), f"{inside}: step {table.steps[place]}", bounded=not table.task.unit)


def _unique(names: Sequence[str], where: str) -> None:
    seen: dict[str, None] = {}
    for name in names:
        if name in seen:
            raise ResultError(f"{where} {name!r} occurs twice; ids must be unique")
        seen[name] = None


def _check_row(row: Row, queries: int, where: str, *, bounded: bool) -> None:
    if not row.scores:
        if row.reported is None:
            raise ResultError(f"{where}: neither scores nor a reported figure")
        return
    if len(set(row.seeds)) != len(row.seeds):
        raise ResultError(f"{where}: seeds: a seed occurs twice")
    if not len(row.seeds) == len(row.scores) == len(row.status):
        raise ResultError(
            f"{where}: {len(row.seeds)} seeds, {len(row.scores)} lists of scores and {len(row.status)} of status; "
            "one of each is needed per seed"
        )
    for seed, values, letters in zip(row.seeds, row.scores, row.status, strict=True):
        if not len(values) == len(letters) == queries:
            raise ResultError(
                f"{where}: seed {seed}: {len(values)} scores and {len(letters)} status letters for {queries} queries"
            )
        for at, (value, letter) in enumerate(zip(values, letters, strict=True)):
            if not _agrees(value, letter, bounded):
                raise ResultError(f"{where}: seed {seed}, query {at}: value {value} does not go with status {letter!r}")
    _check_samples(row, where)
    counted = make_row(scores=row.scores, status=row.status, queries=queries, **_rest(row))
    for name in ("expected", "scored", "failed", "unparsed", "errors"):
        if getattr(row, name) != getattr(counted, name):
            raise ResultError(f"{where}: {name} is {getattr(row, name)}, its rows give {getattr(counted, name)}")


REQUIRED_CONDITIONS: Mapping[Kind, tuple[str, ...]] = {
    "measured": ("task", "version", "items", "metric", "base_model"),
    "published": ("task", "version"),
}
"""Conditions that every row must state: without them it would be ranked and paired with rows of another kind."""


def check_comparable(table: Table, kind: Kind, row: Row, where: str) -> None:
    """Raise :class:`ResultError` where a row's conditions lack a field, or contradict the row, its card or its task."""
    lacks = [name for name in REQUIRED_CONDITIONS[kind] if name not in row.conditions]
    if lacks:
        raise ResultError(f"{where}: conditions: {lacks[0]!r} is missing: what the row may be compared with is unknown")
    stated = {
        "task": (table.task.name, "task.name"),
        "version": (table.task.version, "task.version"),
        "protocol": (row.protocol, "protocol"),
        "transductive": (row.card.transductive, "card.transductive"),
        "open_book": (row.card.open_book, "card.open_book"),
    }
    for name, (value, place) in stated.items():
        if name in row.conditions and row.conditions[name] != value:
            given = row.conditions[name]
            raise ResultError(f"{where}: conditions.{name} is {given!r}, {place} is {value!r}; one of them is wrong")


def _rest(row: Row) -> dict[str, Any]:
    counted = {"scores", "status", "expected", "scored", "failed", "unparsed", "errors"}
    return {name: getattr(row, name) for one in fields(Row) if (name := one.name) not in counted}


def _check_samples(row: Row, where: str) -> None:
    """Check that the samples' status, where there are several samples, makes that of their queries."""
    if row.samples and [len(one) for one in row.samples] != [len(one) for one in row.status]:
        raise ResultError(f"{where}: samples: not one entry for every query of every seed")
    for seed, letters, samples in zip(row.seeds, row.status, row.samples, strict=False):
        for at, (letter, each) in enumerate(zip(letters, samples, strict=True)):
            if set(each) - set("ofue") or letter != letter_of(each):
                raise ResultError(f"{where}: seed {seed}, query {at}: samples {each!r} do not make status {letter!r}")


def letter_of(samples: str) -> str:
    """The status of a query from those of its samples: an ``error`` prevails, else one scored sample suffices."""
    if not samples or "e" in samples:
        return "e" if samples else "-"
    if "o" in samples:
        return "o"
    return "u" if set(samples) == {"u"} else "f"


def _agrees(value: float | None, letter: str, bounded: bool) -> bool:
    match letter:
        case "o":
            return value is not None and (0 <= value <= 1 if bounded else math.isfinite(value))
        case "f":
            return value == 0
        case "u":
            return value is None or value == 0
        case "e" | "-":
            return value is None
    return False


def write(found: ResultFile, path: str | Path) -> Path:
    """Check the file and write it whole or not at all: a temporary file beside it, synced, then renamed."""
    where = Path(path)
    check(found, str(where))
    where.parent.mkdir(parents=True, exist_ok=True)
    return write_text(where, dumps(found))


def dumps(found: ResultFile) -> str:
    """The file's text, with one line per field, per list of items and per seed's scores: small, and easy to diff."""
    plain = _plain(asdict(found))
    if found.provenance is None:
        del plain["provenance"]
    return _layout(plain, 0) + "\n"


def _plain(value: Any) -> Any:
    """Tuples as lists, whole floats as integers (a column of 0 and 1 costs two bytes per entry)."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _layout(value: Any, depth: int) -> str:
    nested = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, list | dict) for one in value))
    if not nested or not value or depth >= _DEEP:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    pad = " " * (depth + 1)
    if isinstance(value, dict):
        inner = [f"{json.dumps(key, ensure_ascii=False)}: {_layout(one, depth + 1)}" for key, one in value.items()]
        return "{\n" + ",\n".join(pad + line for line in inner) + "\n" + " " * depth + "}"
    return "[\n" + ",\n".join(pad + _layout(one, depth + 1) for one in value) + "\n" + " " * depth + "]"


def result_paths(folder: str | Path) -> list[Path]:
    """All result files under a folder, in a fixed order."""
    root = Path(folder)
    if not root.is_dir():
        raise ResultError(f"{root}: no such folder of result files")
    return sorted(path for path in root.glob("*/*.json") if not path.name.startswith("."))


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Names of the fields in which two rows' conditions differ, in alphabetical order."""
    return [name for name in sorted({*a, *b}) if a.get(name) != b.get(name)]


def condition_groups(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows grouped by equal conditions, in order of first appearance."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(json.dumps(dict(row.conditions), sort_keys=True), []).append(row)
    return list(groups.values())
