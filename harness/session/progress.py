"""Progress and an honest ETA on a terminal; silence everywhere else."""

from __future__ import annotations

import sys
from typing import Any, Protocol


class Progress(Protocol):
    """What a session reports to."""

    def arm(self, name: str) -> None:
        """A row of the run begins: ``seal, seed 0``."""
        ...

    def begin(self, what: str, total: int) -> None:
        """A bulk call begins, with so many items."""
        ...

    def advance(self, count: int) -> None: ...

    def say(self, text: str) -> None:
        """One line that stays."""
        ...

    def close(self) -> None: ...


class Quiet:
    """No bars; lines go to the given stream, or nowhere."""

    def __init__(self, stream: Any = None) -> None:
        self._stream = stream

    def arm(self, name: str) -> None: ...

    def begin(self, what: str, total: int) -> None: ...

    def advance(self, count: int) -> None: ...

    def say(self, text: str) -> None:
        if self._stream is not None:
            print(text, file=self._stream, flush=True)

    def close(self) -> None: ...


class Bars:
    """One bar for the bulk call in flight and one for the whole run's rows, on standard error."""

    def __init__(self, arms: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
        )
        self._rich.start()
        self._arms = self._rich.add_task("rows", total=arms)
        self._started = False
        self._call: Any = None
        self._name = ""

    def arm(self, name: str) -> None:
        if self._started:
            self._rich.advance(self._arms)
        self._started = True
        self._name = name
        self._rich.update(self._arms, description=f"rows · {name}")

    def begin(self, what: str, total: int) -> None:
        if self._call is not None:
            self._rich.remove_task(self._call)
        self._call = self._rich.add_task(f"{self._name} · {what}"[:34], total=total)

    def advance(self, count: int) -> None:
        if self._call is not None:
            self._rich.advance(self._call, count)

    def say(self, text: str) -> None:
        self._rich.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        self._rich.stop()


def on_terminal(arms: int) -> Progress:
    """Bars when standard error is a terminal, else plain lines on standard error."""
    return Bars(arms) if sys.stderr.isatty() else Quiet(sys.stderr)
