"""One finished effect, as the journal keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
