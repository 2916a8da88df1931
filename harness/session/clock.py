"""Wall time by phase: phases are nested, and only the innermost one's clock runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Span:
    """Seconds spent in a phase itself, without the phases inside it."""

    phase: str
    seconds: float = 0.0


class Clock:
    """Wall time by phase: ``generation``, ``update``, ``grading``, ``reward`` or ``loop``."""

    def __init__(self) -> None:
        self._stack: list[Span] = [Span("loop")]
        self._since = time.perf_counter()

    @property
    def phase(self) -> str:
        """The innermost phase now."""
        return self._stack[-1].phase

    @contextmanager
    def span(self, phase: str) -> Iterator[Span]:
        """Time a phase; an empty ``phase`` takes the name of the one around it."""
        self._settle()
        mine = Span(phase or self.phase)
        self._stack.append(mine)
        try:
            yield mine
        finally:
            self._settle()
            self._stack.pop()

    def lap(self) -> float:
        """Seconds of the innermost phase since its last lap."""
        self._settle()
        seconds, self._stack[-1].seconds = self._stack[-1].seconds, 0.0
        return seconds

    def credit(self, seconds: float) -> None:
        """Seconds that a worker spent for the innermost phase."""
        self._stack[-1].seconds += seconds

    def put_aside(self) -> list[Span]:
        """The phases as they are now, for :meth:`take_up`; what passes until then is nobody's."""
        self._settle()
        return list(self._stack)

    def take_up(self, stack: list[Span], *, fresh: bool = False) -> None:
        """Go on with phases that were put aside; ``fresh`` with nothing but the name of the innermost one."""
        self._stack = [Span(stack[-1].phase)] if fresh else list(stack)
        self._since = time.perf_counter()

    def _settle(self) -> None:
        now = time.perf_counter()
        self._stack[-1].seconds += now - self._since
        self._since = now
