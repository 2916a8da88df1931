"""One finished effect, as the journal keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness.text import REPLACED, repaired


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


def writable_item(item: Item) -> Item:
    """The item as it can be written, with the characters that had to be replaced among its costs."""
    result, count = repaired(item.result)
    if not count:
        return item
    return replace(item, result=result, cost={**item.cost, REPLACED: float(count)})
