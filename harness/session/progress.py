"""Progress and an honest ETA on a terminal; plain lines everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from harness.escape import line, rich

Piece = Literal["edits", "updates", "answers"]
"""The kinds of work that a run is made of, as ``--dry-run`` counts them."""


class Progress(Protocol):
    """What a session reports to."""

    def plan(self, rows: int, pieces: Mapping[str, int]) -> None:
        """The run begins: its number of rows (methods x seeds), and of pieces of each kind over all rows."""
        ...

    def row(self, name: str) -> None:
        """A row begins: ``seal, seed 0``."""
        ...

    def begin(self, piece: Piece, total: int) -> None:
        """A bulk call of ``total`` pieces begins."""
        ...

    def advance(self, piece: Piece, count: int, seconds: float) -> None:
        """``count`` more of the call's pieces are done, and took ``seconds``."""
        ...

    def say(self, text: str) -> None:
        """Print one line that stays."""
        ...

    def close(self) -> None: ...


class Quiet:
    """No bars; lines go to the given stream, or nowhere."""

    def __init__(self, stream: Any = None) -> None:
        self._stream = stream

    def plan(self, rows: int, pieces: Mapping[str, int]) -> None: ...

    def row(self, name: str) -> None: ...

    def begin(self, piece: Piece, total: int) -> None: ...

    def advance(self, piece: Piece, count: int, seconds: float) -> None: ...

    def say(self, text: str) -> None:
        if self._stream is not None:
            print(line(text), file=self._stream, flush=True)

    def close(self) -> None: ...


class Forecast:
    """How long the rest of the run will take: the pieces left of each kind, at the pace seen so far.

    A kind of which no piece was done yet is given the mean pace of the others. Answers from the journal take no time,
    and are taken off the plan as they pass. Before the first piece there is no forecast.
    """

    def __init__(self) -> None:
        self._left: dict[str, int] = {}
        self._seen: dict[str, tuple[int, float]] = {}

    def plan(self, pieces: Mapping[str, int]) -> None:
        self._left = dict(pieces)

    def saw(self, piece: str, count: int, seconds: float) -> None:
        before = self._seen.get(piece, (0, 0.0))
        self._seen[piece] = (before[0] + count, before[1] + seconds)
        self._left[piece] = max(0, self._left.get(piece, 0) - count)

    def seconds(self) -> float | None:
        """Seconds that are left; None before the first piece."""
        paces = {piece: spent / count for piece, (count, spent) in self._seen.items() if count}
        if not paces:
            return None
        typical = sum(paces.values()) / len(paces)
        return sum(left * paces.get(piece, typical) for piece, left in self._left.items())


class Bars:
    """A bar for each bulk call in flight, with the run's row and the forecast for the whole run, on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[eta]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._rich.start()
        self._forecast = Forecast()
        self._rows = self._at = 0
        self._name = ""
        self._calls: dict[str, Any] = {}

    def plan(self, rows: int, pieces: Mapping[str, int]) -> None:
        self._rows = rows
        self._forecast.plan(pieces)

    def row(self, name: str) -> None:
        self._at += 1
        self._name = name

    def begin(self, piece: Piece, total: int) -> None:
        if piece in self._calls:
            self._rich.remove_task(self._calls.pop(piece))
        where = rich(f"[{self._at}/{self._rows}] {self._name}: {piece}")
        self._calls[piece] = self._rich.add_task(f"{where:<40}", total=total, eta=self._eta())

    def advance(self, piece: Piece, count: int, seconds: float) -> None:
        self._forecast.saw(piece, count, seconds)
        self._rich.update(self._calls[piece], advance=count, eta=self._eta())
        if self._rich.tasks and next(t for t in self._rich.tasks if t.id == self._calls[piece]).finished:
            self._rich.remove_task(self._calls.pop(piece))

    def say(self, text: str) -> None:
        self._rich.console.print(line(text), highlight=False, markup=False)

    def close(self) -> None:
        self._rich.stop()

    def _eta(self) -> str:
        left = self._forecast.seconds()
        if left is None:
            return ""
        minutes, seconds = divmod(round(left), 60)
        hours, minutes = divmod(minutes, 60)
        return (
            f"run ends in about {hours}:{minutes:02}:{seconds:02}"
            if hours
            else f"run ends in about {minutes}:{seconds:02}"
        )


def on_terminal() -> Progress:
    """Bars when standard error is a terminal, else plain lines on standard error."""
    return Bars() if sys.stderr.isatty() else Quiet(sys.stderr)
