"""Packs: what of a call is computed together, cut so that what is booked already changes no bits.

Numbers that share a batch share its rounding: two halves of a call give adapters that differ from the whole call's in
their last digits. So a call is cut into packs before the journal is asked, by the list of its distinct jobs and the
recorded pack size alone. A pack of which any member is missing is computed whole; what was booked of it before stands.
Whichever arm, earlier run, retried error or kill booked a part of a call, the rest comes out as in a fresh run.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class PackSizes:
    """How many jobs of a model share a pack. Recorded with the run: other sizes are other bits."""

    requests: int
    """Requests asked together."""
    updates: int
    """Trainings at most; an updater may take fewer at a time."""


def packs(keys: Sequence[str], jobs: Sequence[_T], size: int) -> Iterator[dict[str, _T]]:
    """The distinct jobs of a call in packs of ``size``, in the order of the call; of equal jobs the first."""
    distinct: dict[str, _T] = {}
    for key, job in zip(keys, jobs, strict=True):
        distinct.setdefault(key, job)
    entries = list(distinct.items())
    for start in range(0, len(entries), size):
        yield dict(entries[start : start + size])


def missing(pack: dict[str, _T], known: Container[str]) -> dict[str, _T]:
    """The members of a pack that are not booked yet."""
    return {key: job for key, job in pack.items() if key not in known}
