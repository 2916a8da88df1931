"""How an update starts: its start's adapters left as they are, folded into one, or merged into the weights."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

from harness.api import StartAs, State, UpdateJob
from harness.errors import UsageError, nearest
from harness.session.scope import Scope

_KNOWN = get_args(StartAs)


class Starts:
    """Makes the states that updates begin from.

    What it makes goes into the weight store like any adapter: named by content, kept when an update that stands on it
    is booked, and gone with the last state that names it.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._weights = scope.context.weights
        self._known: dict[tuple[str, tuple[str, ...], str], tuple[str, ...]] = {}
        """(base, adapters, how) -> what was made of them in this life of the run."""

    def prepared(self, job: UpdateJob) -> UpdateJob:
        """The job as an updater takes it: one that folds or merges stacks on the state that this makes.

        Raises:
            UsageError: no such way to start, nothing to continue, or a model that cannot be merged into.
        """
        if job.start_as not in _KNOWN:
            raise UsageError(f"job {job.id!r}: no such start_as {job.start_as!r}.{nearest(job.start_as, _KNOWN)}")
        if job.start_as == "continue" and not job.start.adapters:
            raise UsageError(
                f"job {job.id!r}: start_as 'continue' trains the start's last adapter on, and it has none; "
                "take 'stack' for the first update"
            )
        if job.start_as in ("stack", "continue"):
            return job
        return dataclasses.replace(job, start=self._made(job.start, job.start_as), start_as="stack")

    def _made(self, start: State, how: str) -> State:
        """The start folded or merged, once for all jobs that begin there while its weights are held."""
        key = (start.base, start.adapters, how)
        if key not in self._known or not all(map(self._weights.has, self._known[key])):
            self._known[key] = self._merged(start) if how == "merge" else self._folded(start)
        return dataclasses.replace(start, adapters=self._known[key])

    def _folded(self, start: State) -> tuple[str, ...]:
        below, stack = self._split(start)
        if len(stack) < 2:
            return start.adapters
        from harness.engine import fold

        return (*below, self._weights.put(fold(stack)))

    def _merged(self, start: State) -> tuple[str, ...]:
        _, stack = self._split(start)
        if not stack:
            return start.adapters
        backend = self._scope.backend(start.base)
        merge = getattr(backend, "merge", None)
        if merge is None:
            raise UsageError(
                f"model {getattr(backend, 'name', start.base)!r} cannot merge adapters into its weights; "
                "take another start_as: 'stack', 'continue' or 'fold'"
            )
        return (self._weights.put(merge(start)),)

    def _split(self, start: State) -> tuple[tuple[str, ...], list[Any]]:
        """The digest of the last full weights, if any, and the adapters above them."""
        if not start.adapters:
            return (), []
        from harness.engine import Adapter

        below: tuple[str, ...] = ()
        stack: list[Any] = []
        for digest in start.adapters:
            found = self._weights.adapter(digest)
            if isinstance(found, Adapter):
                stack.append(found)
            else:
                below, stack = (digest,), []
        return below, stack
