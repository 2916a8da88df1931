"""The result file: one JSON file per run, checked when it is read and when it is written.

It holds the records of :mod:`harness.evidence.result`, the score of every query among them, so that runs can be paired
offline.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from harness.api import HarnessError
from harness.evidence.result import SCHEMA, Kind, ResultFile, Row, Table, at_step, recounted, status_of_samples
from harness.files import write_text
from harness.reading import parse_json, read_text, user_path

_DEEP = 6
"""Depth from which a value is written on one line: at and below it are single seeds and contexts."""


class ResultError(HarnessError):
    """A result file that cannot be read; the message names file, field and remedy."""


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


def result_paths(folder: str | Path) -> list[Path]:
    """All result files under a folder, in a fixed order."""
    root = Path(folder)
    if not root.is_dir():
        raise ResultError(f"{root}: no such folder of result files")
    return sorted(path for path in root.glob("*/*.json") if not path.name.startswith("."))


# --- checking --------------------------------------------------------------------------------------------------------


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
        _check_conditions(table, kind, row, inside)
        if len(row.earlier) != (max(0, len(table.steps) - 1) if row.scores else 0):
            raise ResultError(f"{inside}: earlier: {len(row.earlier)} steps before the last of {len(table.steps)}")
        for place, _ in enumerate(row.earlier):
            then = at_step(row, place, len(queries))
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
    for seed, values, status in zip(row.seeds, row.scores, row.status, strict=True):
        if not len(values) == len(status) == queries:
            raise ResultError(
                f"{where}: seed {seed}: {len(values)} scores and {len(status)} status letters for {queries} queries"
            )
        for at, (value, one) in enumerate(zip(values, status, strict=True)):
            if not _agrees(value, one, bounded):
                raise ResultError(f"{where}: seed {seed}, query {at}: value {value} does not go with status {one!r}")
    _check_samples(row, where)
    counted = recounted(row, queries)
    for name in ("expected", "scored", "failed", "unparsed", "errors"):
        if getattr(row, name) != getattr(counted, name):
            raise ResultError(f"{where}: {name} is {getattr(row, name)}, its rows give {getattr(counted, name)}")


def _check_samples(row: Row, where: str) -> None:
    """Check that the samples' status, where there are several samples, makes that of their queries."""
    if row.samples and [len(one) for one in row.samples] != [len(one) for one in row.status]:
        raise ResultError(f"{where}: samples: not one entry for every query of every seed")
    for seed, status, samples in zip(row.seeds, row.status, row.samples, strict=False):
        for at, (one, each) in enumerate(zip(status, samples, strict=True)):
            if set(each) - set("ofue") or one != status_of_samples(each):
                raise ResultError(f"{where}: seed {seed}, query {at}: samples {each!r} do not make status {one!r}")


def _agrees(value: float | None, status: str, bounded: bool) -> bool:
    match status:
        case "o":
            return value is not None and (0 <= value <= 1 if bounded else math.isfinite(value))
        case "f":
            return value == 0
        case "u":
            return value is None or value == 0
        case "e" | "-":
            return value is None
    return False


REQUIRED_CONDITIONS: Mapping[Kind, tuple[str, ...]] = {
    "measured": ("task", "version", "items", "metric", "base_model"),
    "published": ("task", "version"),
}
"""Conditions that every row must state: without them it would be ranked and paired with rows of another kind."""


def _check_conditions(table: Table, kind: Kind, row: Row, where: str) -> None:
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


# --- writing ---------------------------------------------------------------------------------------------------------


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
