"""One finished effect, as the journal keeps it: its row, sealed with a checksum over everything that is in it."""

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
"""What the checksum is over, in this order; the column ``seal`` after them holds it."""

WITHIN = "within"
"""Kind of what is noted beside an item of what happened inside it; a cost of that name says that something is."""


@dataclass(frozen=True)
class Item:
    """One finished effect."""

    digest: str
    kind: str
    component: str
    status: str
    result: Any
    """JSON; :func:`harness.books.records.decode` makes records of it."""
    cost: Mapping[str, float] = field(default_factory=dict)
    weights: str | None = None
    """Digests, separated by commas, of the weights that it needs on disk; each is referred to once."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Path -> digest of the files that were read by what made it; found again only while they are the same."""


def writable_item(item: Item) -> Item:
    """The item as it can be written, with the characters that had to be replaced among its costs."""
    result, count = repaired(item.result)
    if not count:
        return item
    return replace(item, result=result, cost={**item.cost, REPLACED: float(count)})


def to_row(item: Item) -> tuple[str | None, ...]:
    """The item's columns and their seal."""
    values = (item.digest, item.kind, item.component, item.status, text(item.result), text(item.cost), item.weights)
    return (*values, seal(values))


def from_row(row: Sequence[Any], journal: Path, files: Mapping[str, str] | None = None) -> Item:
    """The item of a row of ``journal``, and the files that it was made from.

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
    """JSON text of what is already plain JSON; NaN is refused."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def seal(values: Sequence[str | None]) -> str:
    """128 bits of SHA-256 over texts, in hexadecimal."""
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()[:32]


def is_sealed(values: Sequence[Any], sealed: object) -> bool:
    """Whether values read from a database are the texts that were sealed."""
    whole = all(value is None or isinstance(value, str) for value in values)
    return whole and seal(values) == sealed
