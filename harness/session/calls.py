"""Calls of a method, booked by content and answered from the journal where the answer is known.

Two things make a resumed run equal to an uninterrupted one. Items are keyed by content and computed in packs that what
is booked does not change (:mod:`harness.session.packs`). And what a call answers has always been through the journal's
codec, whether it was computed now or in an earlier life of the run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from harness import reads
from harness.api import Component
from harness.books.item import Item, writable_item
from harness.books.records import decode, digest, encode
from harness.errors import ReplayMismatch
from harness.registry.build import BuiltComponent
from harness.session import checks
from harness.session.packs import missing, packs
from harness.session.scope import Scope

PACK = 64
"""Asks of an evaluator that are graded together. Fixed: what an evaluator asks in one call shares packs of requests."""


class Calls:
    """The order of a method's calls, and their answers."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._journal = scope.journal
        self._depth = 0
        self.position = 0
        """Calls of the outer loop so far; what a component calls from inside a call does not count."""

    def guard(self, slot: BuiltComponent[Component], run: Callable[[], Any]) -> Any:
        """Run a component's code: its exceptions become one line that names it, and the files it reads are noted."""
        self._depth += 1
        try:
            return reads.call(slot.reads, lambda: checks.guarded(slot, run))
        finally:
            self._depth -= 1

    @property
    def of_loop(self) -> bool:
        """Whether the call is the outer loop's own, and not one that a component makes inside another."""
        facts = self._scope.facts
        return not self._depth and facts.stage == "outer" and not facts.validating

    def is_new(self) -> bool:
        """Whether no earlier process of the run has made the outer loop's next call."""
        return not self._depth and self._journal.call_at(self._scope.calls_name, self.position) is None

    def log(self, kind: str, name: str, identity: Any, inputs: Any) -> None:
        """Compare a call of the outer loop with the one that is recorded at its position.

        Raises:
            ReplayMismatch: another call is recorded there, and the run may not be recomputed.
        """
        if self._depth:
            return
        scope, journal = self._scope, self._journal
        now = (kind, name, digest([kind, identity, scope.built_task.identity, list(inputs)]))
        before = journal.call_at(scope.calls_name, self.position)
        if before is None:
            journal.add_call(scope.calls_name, self.position, *now)
        elif before != now and scope.context.recompute:
            journal.forget_calls(scope.calls_name, self.position)
            journal.add_call(scope.calls_name, self.position, *now)
        elif before != now:
            raise ReplayMismatch(
                f"{scope.calls_name}: call {self.position} was {before[0]} by {before[1]!r} "
                f"and is now {now[0]} by {now[1]!r}"
                f"{' with other inputs' if before[:2] == now[:2] else ''}. The method's code changed, or its loop "
                "depends on something that is not journalled. `harness resume --recompute` goes on from here"
            )
        self.position += 1

    def whole(
        self,
        kind: str,
        slot: BuiltComponent[Component],
        inputs: list[Any],
        run: Callable[[], Any],
        status: Callable[[Any], str],
        phase: str,
    ) -> Any:
        """Make a call whose results depend on each other, and book it as one item."""
        scope, journal = self._scope, self._journal
        self.log(kind, slot.name, slot.identity, inputs)
        depends = [slot.identity, scope.reachable, scope.built_task.identity, scope.models, dict(scope.roles)]
        key = digest([kind, *depends, scope.method.sees, inputs])
        known = scope.facts.known(journal.find([key]))
        if key in known:
            journal.reused += 1
            result = known[key].result
        else:
            with scope.clock.span(phase) as span, scope.facts.frame(kind) as frame:
                value = run()
            made = writable_item(Item(key, kind, slot.name, status(value), encode(value), {"seconds": span.seconds}))
            result = made.result
            deltas = sorted(checks.deltas(value))
            for adapter in deltas:
                scope.context.weights.persist(adapter)
            with journal.writing():
                made = dataclasses.replace(made, weights=",".join(deltas) or None, files=scope.files(slot))
                journal.book(scope.facts.beside(frame, [made]))
        with journal.writing():
            scope.facts.use(phase or scope.clock.phase, [key])
        scope.check_time()
        return decode(result)

    def in_packs(
        self,
        jobs: Sequence[Any],
        keys: Sequence[str],
        run: Callable[[Sequence[Any]], Iterator[tuple[Any, Any, float]]],
        item: Callable[[str, Any, Any, float], Item],
        phase: str,
        size: int = PACK,
        *,
        whole: bool = True,
        discard: Callable[[Any], None] = lambda result: None,
    ) -> list[Any]:
        """A call of independent jobs, run and booked pack by pack (:mod:`harness.session.packs`); results in job order.

        Args:
            run: yields (job, result, seconds) for every job of a pack that it is given, in any order.
            item: what is booked of a job under its key; asked only where it is not booked yet.
            whole: whether a pack is run whole where only a part of it is missing. Not where running costs money.
            discard: lets go of a result that was booked before.
        """
        scope, journal, progress = self._scope, self._journal, self._scope.context.progress
        found = scope.facts.known(journal.find(list(dict.fromkeys(keys))))
        known = {key: it.result for key, it in found.items()}
        journal.reused += len(known)
        todo = [pack for pack in packs(keys, jobs, size) if missing(pack, known)]
        if todo and phase == "update":
            progress.begin("updates", sum(len(missing(pack, known)) for pack in todo))

        def one(pack: dict[str, Any]) -> None:
            lacking = missing(pack, known)
            part = pack if whole else lacking
            key_of = {id(job): key for key, job in pack.items()}
            with scope.facts.frame(phase) as frame:
                results = [(key_of[id(job)], job, *rest) for job, *rest in run(list(part.values()))]
                items = [writable_item(item(*result)) for result in results if result[0] in lacking]
            for key, _, result, _ in results:
                if key not in lacking:
                    discard(result)
            with journal.writing():
                journal.book(scope.facts.beside(frame, items))
            known.update({it.digest: it.result for it in items})
            if phase == "update":
                progress.advance("updates", len(lacking), sum(it.cost["seconds"] for it in items))
            scope.check_time()

        with scope.clock.span(phase):
            scope.context.turns.side_by_side(todo, one)
        with journal.writing():
            scope.facts.use(phase, list(dict.fromkeys(keys)))
        return [known[key] for key in keys]
