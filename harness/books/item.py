"""Items: finished effects as rows of the journal, each sealed with a checksum over all of its columns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.errors import Damaged
from harness.text import REPLACED, repaired

COLUMNS = ("digest", "kind", "component", "status", "result", "cost", "weights")
"""The columns that the checksum covers, in this order; the column ``seal`` after them holds it."""

WITHIN = "within"
"""Kind of the note that records what happened inside another item; a cost of this name on that item says it exists."""


@dataclass(frozen=True)
class Item:
    """One finished effect of a run, such as a completion, an update or a score."""

    digest: str
    kind: str
    component: str
    status: str
    result: Any
    """JSON; :func:`harness.books.records.decode` turns it into records."""
    cost: Mapping[str, float] = field(default_factory=dict)
    weights: str | None = None
    """Digests, separated by commas, of the weights that it needs on disk; it holds one reference to each."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Path -> digest of the files that its component read; the item is reused only while they are unchanged."""


def writable_item(item: Item) -> Item:
    """The item with text that can be written; the number of characters replaced is added to its costs."""
    result, count = repaired(item.result)
    if not count:
        return item
    return replace(item, result=result, cost={**item.cost, REPLACED: float(count)})


def to_row(item: Item) -> tuple[str | None, ...]:
    """The item's columns and their seal."""
    values = (item.digest, item.kind, item.component, item.status, text(item.result), text(item.cost), item.weights)
    return (*values, seal(values))


def from_row(row: Sequence[Any], journal: Path, files: Mapping[str, str] | None = None) -> Item:
    """The item in a row of ``journal``; ``files`` are those it was made from.

    Raises:
        Damaged: the row is not what was written.
    """
    *values, sealed = row
    if not is_sealed(values, sealed):
        key, kind, component = (str(value)[:40] for value in values[:3])
        raise Damaged(journal, f"item {key[:12]!r} ({kind!r} by {component!r})")
    digest, kind, component, status, result, cost, weights = values
    return Item(digest, kind, component, status, json.loads(result), json.loads(cost), weights, files or {})


def text(value: Any) -> str:
    """A plain JSON value as compact JSON text; raises ValueError for NaN."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def seal(values: Sequence[str | None]) -> str:
    """128 bits of SHA-256 over a row's values, in hexadecimal."""
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()[:32]


def is_sealed(values: Sequence[Any], sealed: object) -> bool:
    """Whether values read from a database are those that were sealed."""
    whole = all(value is None or isinstance(value, str) for value in values)
    return whole and seal(values) == sealed
