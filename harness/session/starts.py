"""How an update starts: its start's adapters left as they are, folded into one, or merged into the weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, get_args

from harness.api import StartAs, State, UpdateJob
from harness.errors import UsageError, nearest
from harness.session.scope import Scope

_KNOWN = get_args(StartAs)
SUPERPOSITION = "superposition"
"""The way of merging that keeps every adapter under a key of its own."""


class Starts:
    """Makes the states that updates begin from.

    What it makes goes into the weight store like any adapter: named by content, kept once an update on top of it is
    booked, and removed with the last state that names it.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._weights = scope.context.weights
        self._known: dict[tuple[str, tuple[str, ...], str], tuple[str, ...]] = {}
        """(base, adapters, how) -> the adapters that this process made of them."""

    def prepared(self, job: UpdateJob) -> UpdateJob:
        """The job as an updater takes it: one that folds or merges becomes one that stacks on the state made for it.

        Raises:
            UsageError: ``start_as`` is unknown, there is no adapter to continue, or the model cannot be merged into.
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

    def merged(self, states: Sequence[State], how: str, *, weight: float, density: float, own: int) -> State:
        """A state with the states' last adapters merged into one; see :meth:`harness.api.Session.merge`.

        Raises:
            UsageError: no such way, or states that cannot be merged.
        """
        from harness.engine import MERGES, Adapter, merge, superpose

        known = (*MERGES, SUPERPOSITION)
        if how not in known:
            raise UsageError(f"adapters cannot be merged by {how!r}.{nearest(how, known)}")
        below = {(state.base, state.adapters[:-1], str(state.memory)) for state in states if state.adapters}
        if len(below) != 1 or not all(state.adapters for state in states):
            raise UsageError("only states that differ in their last adapter, and each have one, can be merged")
        adapters = [self._weights.adapter(state.adapters[-1]) for state in states]
        if not all(isinstance(one, Adapter) for one in adapters):
            raise UsageError("only LoRA adapters can be merged, not the weights of a full fine-tune")
        try:
            if how == SUPERPOSITION:
                made = superpose(adapters, range(len(adapters)), own)
            else:
                made = merge(adapters, how, weight=weight, density=density)
        except ValueError as error:
            raise UsageError(str(error)) from error
        return dataclasses.replace(states[0], adapters=(*states[0].adapters[:-1], self._weights.put(made)))

    def _made(self, start: State, how: str) -> State:
        """The start folded or merged; made once for all jobs that begin there, while its weights are in the store."""
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
        return (self._weights.put(self._scope.backend(start.base).merge(start)),)

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
