"""A student that can be observed: what it learns is put into its memory, so a scripted model can answer from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.api import EditFailed, Example, Session, Updated, UpdateJob, Updater


class Notebook(Updater):
    """An updater that keeps the training sequences as ``State.memory["passage"]``, which the answering prompt shows."""

    accepts = frozenset({Example})
    key = "passage"

    def __init__(self) -> None:
        self.jobs: list[UpdateJob] = []

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        for job in jobs:
            self.jobs.append(job)
            try:
                learnt = " / ".join(item.target for item in s.expand(job) if isinstance(item, Example))
            except EditFailed as why:
                yield Updated(job.id, None, "failed", str(why))
                continue
            memory = {**job.start.memory, self.key: learnt}
            yield Updated(job.id, replace(job.start, memory=memory), log={"steps": len(job.edits), "loss": 0.5})


class Habit(Notebook):
    """The same for a policy: kept under ``habit``, which no prompt shows."""

    key = "habit"


class Broken(Updater):
    """An updater whose jobs all end with the same status."""

    accepts = frozenset({Example})

    def __init__(self, status: str, reason: str) -> None:
        self._status, self._reason = status, reason

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        for job in jobs:
            yield Updated(job.id, None, self._status, self._reason)  # type: ignore[arg-type]
