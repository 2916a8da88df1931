"""Several packs of a call under way at once, while the session's code stays as if there were one.

Where a model has workers, the packs of a call run in threads, of which one at a time holds the turn. It gives the turn
away only where it waits for a worker, and takes it back with the answer. So no component, and nothing of the session,
ever runs beside another; what they keep on stacks (open calls, phases, readers) is put aside with the turn. Which pack
is done first depends on the workers; what is booked does not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from harness import reads
from harness.errors import Parked

if TYPE_CHECKING:
    from harness.session.scope import Scope

_T = TypeVar("_T")


class Abandoned(BaseException):
    """Another pack of the call ended it: what is under way beside it is left where it waits."""


@dataclass
class _Group:
    """The packs of one call that are under way together."""

    ended: Future[None] = field(default_factory=Future)
    """Done when one of them raised, or the call was interrupted."""
    error: BaseException | None = None

    def end(self, error: BaseException | None) -> None:
        if not self.ended.done():
            self.error = error
            self.ended.set_result(None)


class Turns:
    """Who of a run's threads may go on.

    Args:
        width: packs of a call that are under way at once; 1 is one after another, in the caller's thread.
    """

    def __init__(self, width: int = 1) -> None:
        self.width = width
        self.scope: Scope | None = None
        """The session whose calls are being made."""
        self._turn = threading.Lock()
        self._turn.acquire()  # whoever runs first has it
        self._local = threading.local()

    def side_by_side(self, packs: Sequence[_T], one: Callable[[_T], None]) -> None:
        """Run ``one`` for every pack. One that is parked leaves the others to go on, so that they are parked together.

        Raises:
            BaseException: what one of them raised first; of :class:`harness.errors.Parked` the last.
        """
        parked: list[Parked] = []
        if self.width == 1 or len(packs) <= 1:
            for pack in packs:
                try:
                    one(pack)
                except Parked as error:
                    parked.append(error)
            if parked:
                raise parked[-1]
            return
        group, begun = _Group(), self._snapshot()
        groups = [*self._groups, group]

        def turn(pack: _T) -> None:
            self._local.groups = groups
            with self._turn:
                if group.ended.done():
                    return
                self._install(begun, fresh=True)
                try:
                    one(pack)
                except Abandoned:
                    pass
                except Parked as error:
                    parked.append(error)
                except BaseException as error:
                    group.end(error)

        with self._away(), ThreadPoolExecutor(min(self.width, len(packs)), "pack") as threads:
            try:
                wait([threads.submit(turn, pack) for pack in packs])
            except BaseException as error:  # an interrupt, which reaches the main thread only
                group.end(None)
                raise error
        if group.error is not None:
            raise group.error
        if parked:
            raise parked[-1]
        self._go_on()

    def wait(self, answer: Future[_T]) -> _T:
        """The answer of a worker. Meanwhile others have the turn.

        Raises:
            Abandoned: nobody needs it any more.
        """
        with self._away():
            ends: list[Future[Any]] = [answer, *(group.ended for group in self._groups)]
            wait(ends, return_when=FIRST_COMPLETED)
        self._go_on()
        return answer.result()

    def spent(self, seconds: float) -> None:
        """Count a worker's seconds in the phase that waited for it."""
        if self.scope is not None:
            self.scope.clock.credit(seconds)

    @property
    def _groups(self) -> list[_Group]:
        """The calls that this thread's work is part of, outermost first."""
        return getattr(self._local, "groups", [])

    def _go_on(self) -> None:
        if any(group.ended.done() for group in self._groups):
            raise Abandoned

    @contextmanager
    def _away(self) -> Iterator[None]:
        """Give the turn away, and take it back at the end, with everything as it was left."""
        aside = self._snapshot()
        self._turn.release()
        try:
            yield
        finally:
            self._turn.acquire()
            self._install(aside)

    def _snapshot(self) -> tuple[Any, ...]:
        scope = self.scope
        if scope is None:
            return (reads.put_aside(),)
        return (
            reads.put_aside(),
            scope.clock.put_aside(),
            scope.facts.put_aside(),
            scope.watch and scope.watch.answering,
        )

    def _install(self, aside: tuple[Any, ...], *, fresh: bool = False) -> None:
        scope = self.scope
        reads.take_up(aside[0])
        if scope is not None and len(aside) > 1:
            scope.clock.take_up(aside[1], fresh=fresh)
            scope.facts.take_up(aside[2])
            if scope.watch:
                scope.watch.answering = aside[3]
