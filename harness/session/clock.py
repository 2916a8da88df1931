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

    def _settle(self) -> None:
        now = time.perf_counter()
        self._stack[-1].seconds += now - self._since
        self._since = now
