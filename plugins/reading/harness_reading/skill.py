"""The updater ``with-skill``: an update learns from the untouched weights, and then a skill vector is added to it.

theta = theta_SFT + v (PaST, arXiv 2601.11258, section 3). The vector is whatever adapters the job's start has: low-rank
changes of weights add up, so it is put behind the new adapter, which was trained without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from harness.api import Session, Updated, UpdateJob, Updater


class WithSkill(Updater):
    """Passes jobs to ``inner`` without the adapters of their start, and adds these to the results."""

    nested: ClassVar[Mapping[str, str]] = {"inner": "updater"}

    def __init__(self, inner: Updater) -> None:
        self._inner = inner
        self.accepts = inner.accepts
        self.wave = inner.wave

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        """One :class:`Updated` per job, from ``inner``."""
        skills = {job.id: job.start.adapters for job in jobs}
        bare = [replace(job, start=replace(job.start, adapters=())) for job in jobs]
        for updated in self._inner.apply(bare, s):
            if updated.state is None:
                yield updated
            else:
                adapters = (*updated.state.adapters, *skills[updated.job])
                yield replace(updated, state=replace(updated.state, adapters=adapters))
