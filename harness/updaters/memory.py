"""The updater ``memory``: nothing is trained; the edits change the text that a state adds to its prompts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.api import JSON, EditFailed, MemoryOps, Session, Updated, UpdateJob, Updater
from harness.books.records import canonical


class Memory(Updater):
    """Applies memory operations in order: ``{"set": {key: value}}`` or ``{"delete": [keys]}``."""

    accepts = frozenset({MemoryOps})

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        """Every job's start with its memory changed, in order; a malformed operation fails its job alone."""
        for job in jobs:
            memory = dict(job.start.memory)
            count = 0
            try:
                for edit in job.edits:
                    for data in edit.data:
                        for op in data.ops if isinstance(data, MemoryOps) else ():
                            change(memory, op)
                            count += 1
            except EditFailed as error:
                yield Updated(job.id, None, "failed", str(error))
            else:
                state = dataclasses.replace(job.start, memory=memory)
                yield Updated(job.id, state, log={"steps": 0, "tokens": 0, "operations": count})


def change(memory: dict[str, Any], op: JSON) -> None:
    """Apply one operation to a memory.

    Raises:
        EditFailed: it is neither ``set`` nor ``delete``, sets what JSON cannot hold, or deletes an absent key.
    """
    if not isinstance(op, Mapping) or len(op) != 1:
        raise EditFailed(f"a memory operation is {{'set': ...}} or {{'delete': [...]}}, not {op!r:.80}")
    [(verb, value)] = op.items()
    if verb == "set" and isinstance(value, Mapping):
        try:
            canonical(value)
        except (TypeError, ValueError) as error:
            raise EditFailed(f"memory cannot hold this: {error}") from error
        memory.update(value)
    elif verb == "delete" and isinstance(value, (list, tuple)):
        for key in value:
            if not isinstance(key, str) or key not in memory:
                raise EditFailed(f"memory has no {key!r:.80} to delete")
            del memory[key]
    else:
        raise EditFailed(f"a memory operation is {{'set': ...}} or {{'delete': [...]}}, not {op!r:.80}")
