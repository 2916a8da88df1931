"""Progress and an honest ETA on a terminal; plain lines everywhere else."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
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

    def tick(self, piece: Piece) -> None:
        """One more piece of the call was made; it is counted for good when its wave is booked."""
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

    def tick(self, piece: Piece) -> None: ...

    def advance(self, piece: Piece, count: int, seconds: float) -> None: ...

    def say(self, text: str) -> None:
        if self._stream is not None:
            print(line(text), file=self._stream, flush=True)

    def close(self) -> None: ...


class Forecast:
    """When the run will end, and how far off such forecasts have been.

    It is the pieces left of each kind, at the pace of the calls seen last: an older call counts for less, since the
    first pieces of a run are slower than the others. A kind of which no piece was done yet is given the mean pace of
    the others. Answers from the journal take no time, and are taken off the plan as they pass. A call that is larger
    than what was left of the plan corrects the plan. Before the first piece there is no forecast.
    """

    _FADES = 0.85
    """What a call's weight becomes with each one after it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[str, int] = {}
        self._seen: dict[str, tuple[float, float]] = {}
        self._ends: deque[tuple[float, float]] = deque(maxlen=64)
        """(when it was made, the end that it said) of the last forecasts."""

    def plan(self, pieces: Mapping[str, int]) -> None:
        self._left = dict(pieces)

    def begin(self, piece: str, total: int) -> None:
        self._left[piece] = max(self._left.get(piece, 0), total)

    def saw(self, piece: str, count: int, seconds: float) -> None:
        done, spent = self._seen.get(piece, (0.0, 0.0))
        self._seen[piece] = (self._FADES * done + count, self._FADES * spent + seconds)
        self._left[piece] = max(0, self._left.get(piece, 0) - count)
        left = self._pieces_left()
        if left is not None:
            now = self._clock()
            self._ends.append((now, now + left))

    def seconds(self) -> float | None:
        """Seconds that are left, counted down between two pieces; None before the first."""
        return max(0.0, self._ends[-1][1] - self._clock()) if self._ends else None

    def error(self) -> float | None:
        """Seconds by which the forecasts since half of the time seen have moved; None while there are too few."""
        if len(self._ends) < 3:
            return None
        middle = (self._ends[0][0] + self._ends[-1][0]) / 2
        ends = [end for made, end in self._ends if made >= middle]
        return max(abs(end - self._ends[-1][1]) for end in ends)

    def said(self) -> str:
        """``ends in about 4:20, give or take 0:30``; "" before the first piece."""
        left, off = self.seconds(), self.error()
        if left is None:
            return ""
        if left == 0:
            return "takes longer than it looked"
        return f"ends in about {_clock(left)}" + (f", give or take {_clock(off)}" if off and off >= 1 else "")

    def _pieces_left(self) -> float | None:
        paces = {piece: spent / count for piece, (count, spent) in self._seen.items() if count}
        if not paces:
            return None
        typical = sum(paces.values()) / len(paces)
        return sum(left * paces.get(piece, typical) for piece, left in self._left.items())


class _Calls:
    """Which bulk calls are in flight in which row, and how far each has come."""

    def __init__(self) -> None:
        self.forecast = Forecast()
        self.rows = self.at = 0
        self.name = ""
        self.booked: dict[str, int] = {}
        self.ticked: dict[str, int] = {}
        self.total: dict[str, int] = {}

    def plan(self, rows: int, pieces: Mapping[str, int]) -> None:
        self.rows = rows
        self.forecast.plan(pieces)

    def row(self, name: str) -> None:
        self.at += 1
        self.name = name

    def begin(self, piece: Piece, total: int) -> None:
        self.forecast.begin(piece, total)
        self.total[piece], self.booked[piece], self.ticked[piece] = total, 0, 0

    def tick(self, piece: Piece) -> None:
        if piece in self.total:
            self.ticked[piece] += 1

    def advance(self, piece: Piece, count: int, seconds: float) -> None:
        self.forecast.saw(piece, count, seconds)
        self.booked[piece] = self.booked.get(piece, 0) + count
        self.ticked[piece] = 0

    def done(self, piece: str) -> int:
        """Pieces that are made, whether booked yet or not."""
        return min(self.total[piece], self.booked[piece] + self.ticked[piece])

    def where(self) -> str:
        return f"[{self.at}/{self.rows}] {self.name}"


class Lines(Quiet):
    """For where there is no terminal: lines, and one every half minute that says how far the run is."""

    def __init__(self, stream: Any = None, every: float = 30.0) -> None:
        super().__init__(stream)
        self._calls = _Calls()
        self._every = every
        self._over = threading.Event()
        self._beat = threading.Thread(target=self._beats, daemon=True, name="heartbeat")

    def plan(self, rows: int, pieces: Mapping[str, int]) -> None:
        self._calls.plan(rows, pieces)
        self._beat.start()

    def row(self, name: str) -> None:
        self._calls.row(name)

    def begin(self, piece: Piece, total: int) -> None:
        self._calls.begin(piece, total)

    def tick(self, piece: Piece) -> None:
        self._calls.tick(piece)

    def advance(self, piece: Piece, count: int, seconds: float) -> None:
        self._calls.advance(piece, count, seconds)

    def close(self) -> None:
        self._over.set()

    def _beats(self) -> None:
        while not self._over.wait(self._every):
            self.say(self._now())

    def _now(self) -> str:
        calls = self._calls
        pieces = [f"{piece} {calls.done(piece)}/{total}" for piece, total in list(calls.total.items())]
        said = calls.forecast.said()
        return f"{calls.where()}: {', '.join(pieces) or 'beginning'}{f'; run {said}' if said else ''}"


class Bars:
    """A bar for each bulk call in flight, with the run's row and the forecast for the whole run, on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress
        from rich.text import Text

        self._calls = calls = _Calls()

        class Ends(ProgressColumn):
            """Written anew with every picture: it counts down while nothing is finished."""

            def render(self, task: Any) -> Text:
                said = calls.forecast.said()
                return Text(f"run {said}" if said else "")

        self._rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            Ends(),
            console=Console(stderr=True),
            transient=True,
        )
        self._rich.start()
        self._bars: dict[str, Any] = {}

    def plan(self, rows: int, pieces: Mapping[str, int]) -> None:
        self._calls.plan(rows, pieces)

    def row(self, name: str) -> None:
        self._calls.row(name)

    def begin(self, piece: Piece, total: int) -> None:
        if piece in self._bars:
            self._rich.remove_task(self._bars.pop(piece))
        self._calls.begin(piece, total)
        self._bars[piece] = self._rich.add_task(f"{rich(f'{self._calls.where()}: {piece}'):<40}", total=total)

    def tick(self, piece: Piece) -> None:
        self._calls.tick(piece)
        self._draw(piece)

    def advance(self, piece: Piece, count: int, seconds: float) -> None:
        self._calls.advance(piece, count, seconds)
        self._draw(piece)
        if piece in self._bars and self._calls.booked[piece] >= self._calls.total[piece]:
            self._rich.remove_task(self._bars.pop(piece))

    def say(self, text: str) -> None:
        self._rich.console.print(line(text), highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._rich.stop()

    def _draw(self, piece: Piece) -> None:
        if piece in self._bars:
            self._rich.update(self._bars[piece], completed=self._calls.done(piece))


def _clock(seconds: float) -> str:
    """``1:02:03``, or ``2:03`` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def on_terminal() -> Progress:
    """Bars when standard error is a terminal, else plain lines on standard error."""
    return Bars() if sys.stderr.isatty() else Lines(sys.stderr)
