"""The updater ``none``: the state stays as it is. The control that every method is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.api import (
    Delta,
    Distillation,
    Example,
    MemoryOps,
    Preference,
    Recipe,
    Rollout,
    Session,
    Updated,
    UpdateJob,
    Updater,
)


class NoUpdate(Updater):
    """Answers every job with its start, whatever its edits hold."""

    accepts = frozenset({Example, Preference, Rollout, Recipe, MemoryOps, Delta, Distillation})

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        """Every job's start, in order."""
        for job in jobs:
            yield Updated(job.id, job.start, log={"steps": 0, "tokens": 0})
