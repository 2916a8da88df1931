"""The result file: one JSON file a run, with the score of every query, so that runs can be paired offline.

A file holds one task's items once and one row a method. Scores are kept per seed and query in the order of the items;
beside every score stands one letter that says what became of it:

====== ================================================================= ==============
letter meaning                                                           value
====== ================================================================= ==============
``o``  scored                                                            in [0, 1]
``f``  failed: the method's doing, counts as wrong                       0
``u``  unparsed: the answer (0) or the judge's verdict (null) is unclear 0 or null
``e``  error: ours; has no value                                         null
``-``  missing: expected, but never measured                             null
====== ================================================================= ==============
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from harness.api import HarnessError
from harness.files import write_text
from harness.reading import parse_json, read_text, user_path

SCHEMA = 1

Kind = Literal["measured", "published"]
Average = Literal["macro", "micro"]
"""``macro``: the mean over contexts of each context's mean over its queries. ``micro``: the mean over queries."""

_STRICT = {"extra": "forbid", "allow_inf_nan": False}


class ResultError(HarnessError):
    """A result file that cannot be read; the message names file, field and remedy."""


@dataclass(frozen=True)
class TaskItems:
    """What was asked: the task, and its items in their fixed order."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    name: str
    version: str
    split: str
    metric: str
    items: tuple[tuple[str, tuple[str, ...]], ...]
    """``(context id, query ids)`` in order; empty where only a paper's figure is known."""
    average: Average = "macro"
    """The headline figure of this task (SEAL's single-passage table is macro, its continued pretraining micro)."""

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
class Row:
    """One method under one configuration, over all its seeds."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    method: str
    plugin: str
    card: Card
    grouping: str
    """``single`` (one edit an update) or ``cpt`` (all edits in one update)."""
    editor_model: str
    """Who wrote the edits; "" where nobody did."""
    start_model: str
    """What the updates start from: the bare model, or a trained policy."""
    key: Mapping[str, str | int | float | bool | None]
    """Comparability: rows are ranked, paired and gated only where every field agrees."""
    seeds: tuple[int, ...]
    scores: tuple[tuple[float | None, ...], ...]
    """``[seed][query]`` in the items' order, in [0, 1]."""
    status: tuple[str, ...]
    """One string a seed, one letter a query; see the module's table."""
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
    reported: Reported | None = None

    @property
    def missing(self) -> int:
        """Queries that were expected and have no value for want of a measurement."""
        return sum(letters.count("-") for letters in self.status)

    @property
    def complete(self) -> bool:
        """Whether every expected score has a value: only such rows are ranked."""
        return self.expected > 0 and self.scored == self.expected


@dataclass(frozen=True)
class ResultFile:
    """The rows of one run on one task's items."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = _STRICT

    schema: Literal[1]
    run: str
    kind: Kind
    source: str
    """Where the figures come from: the command for a measured file, the publication for a published one."""
    task: TaskItems
    model: ModelCard
    environment: Mapping[str, Any]
    rows: tuple[Row, ...]


def make_row(*, scores: Sequence[Sequence[float | None]], status: Sequence[str], queries: int, **rest: Any) -> Row:
    """A row whose counts follow from its scores and letters; ``queries`` is the number of items' queries."""
    kept = tuple(tuple(one) for one in scores)
    letters = tuple(status)
    return Row(
        scores=kept,
        status=letters,
        expected=queries * len(kept),
        scored=sum(value is not None for one in kept for value in one),
        failed=sum(one.count("f") for one in letters),
        unparsed=sum(one.count("u") for one in letters),
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
    try:
        found: ResultFile = _adapter().validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field_path = ".".join(str(part) for part in first["loc"]) or "file"
        raise ResultError(f"{where}: {field_path}: {first['msg']}") from None
    return check(found, where)


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(ResultFile)


def check(found: ResultFile, where: str) -> ResultFile:
    """Return the file where scores, letters, counts and items agree; raise :class:`ResultError` else."""
    contexts = [context for context, _ in found.task.items]
    queries = [query for _, asked in found.task.items for query in asked]
    _unique(contexts, f"{where}: task.items: context")
    _unique(queries, f"{where}: task.items: query")
    for index, row in enumerate(found.rows):
        _check_row(row, len(queries), f"{where}: rows.{index} ({row.method})")
        check_comparable(found, row, f"{where}: rows.{index} ({row.method})")
    return found


def _unique(names: Sequence[str], where: str) -> None:
    seen: dict[str, None] = {}
    for name in names:
        if name in seen:
            raise ResultError(f"{where} {name!r} occurs twice; ids must be unique")
        seen[name] = None


def _check_row(row: Row, queries: int, where: str) -> None:
    if not row.scores:
        if row.reported is None:
            raise ResultError(f"{where}: neither scores nor a reported figure")
        return
    if len(set(row.seeds)) != len(row.seeds):
        raise ResultError(f"{where}: seeds: a seed occurs twice")
    if not len(row.seeds) == len(row.scores) == len(row.status):
        raise ResultError(
            f"{where}: {len(row.seeds)} seeds, {len(row.scores)} lists of scores and {len(row.status)} of status; "
            "one of each is needed a seed"
        )
    for seed, values, letters in zip(row.seeds, row.scores, row.status, strict=True):
        if not len(values) == len(letters) == queries:
            raise ResultError(
                f"{where}: seed {seed}: {len(values)} scores and {len(letters)} letters for {queries} queries"
            )
        for at, (value, letter) in enumerate(zip(values, letters, strict=True)):
            if not _agrees(value, letter):
                raise ResultError(f"{where}: seed {seed}, query {at}: value {value} does not go with status {letter!r}")
    counted = make_row(scores=row.scores, status=row.status, queries=queries, **_rest(row))
    for name in ("expected", "scored", "failed", "unparsed", "errors"):
        if getattr(row, name) != getattr(counted, name):
            raise ResultError(f"{where}: {name} is {getattr(row, name)}, its rows give {getattr(counted, name)}")


KEY_FIELDS: Mapping[Kind, tuple[str, ...]] = {
    "measured": ("task", "version", "items", "metric", "base_model"),
    "published": ("task", "version"),
}
"""What a row's key holds at the least; without it the row would be ranked and paired with what it is no match for."""


def check_comparable(found: ResultFile, row: Row, where: str) -> None:
    """Raise :class:`ResultError` where a row's key lacks a field, or says otherwise than the row, its card or task."""
    lacks = [name for name in KEY_FIELDS[found.kind] if name not in row.key]
    if lacks:
        raise ResultError(f"{where}: key: {lacks[0]!r} is missing: it is not known what may be compared with the row")
    stated = {
        "task": (found.task.name, "task.name"),
        "version": (found.task.version, "task.version"),
        "grouping": (row.grouping, "grouping"),
        "transductive": (row.card.transductive, "card.transductive"),
        "open_book": (row.card.open_book, "card.open_book"),
    }
    for name, (value, place) in stated.items():
        if name in row.key and row.key[name] != value:
            raise ResultError(f"{where}: key.{name} is {row.key[name]!r}, {place} is {value!r}; one of them is wrong")


def _rest(row: Row) -> dict[str, Any]:
    counted = {"scores", "status", "expected", "scored", "failed", "unparsed", "errors"}
    return {name: getattr(row, name) for one in fields(Row) if (name := one.name) not in counted}


def _agrees(value: float | None, letter: str) -> bool:
    match letter:
        case "o":
            return value is not None and 0 <= value <= 1
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
    """The file's text: one line a field, an item list or a seed's scores, so that it stays small and diffs well."""
    return _layout(_plain(asdict(found)), 0) + "\n"


def _plain(value: Any) -> Any:
    """Tuples as lists, whole floats as integers (a column of 0 and 1 costs two bytes an entry)."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _layout(value: Any, depth: int) -> str:
    nested = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, list | dict) for one in value))
    if not nested or not value or depth >= 4:
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
    """Names of the comparability fields in which two keys differ, in alphabetical order."""
    return [name for name in sorted({*a, *b}) if a.get(name) != b.get(name)]


def key_groups(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows by equal comparability key, in order of first appearance."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(json.dumps(dict(row.key), sort_keys=True), []).append(row)
    return list(groups.values())
