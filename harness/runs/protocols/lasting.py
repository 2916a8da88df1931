"""The retention matrices of a protocol's sequences, entered cell by cell, and the figures that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.api import HEADLINE, Bench, Measure, Measurement, Score
from harness.stats.retention import figures

MATRIX = "retention"
LOGPROB = "logprob"
"""Measure of a score, where an evaluator reports it: the log-probability of the accepted answer, in nats."""
_FIGURES = {
    "final": ("acc", ""),
    "learning": ("learning", "points"),
    "backward": ("bwt", "points"),
    "forward": ("fwt", "points"),
    "forgetting": ("forgetting", "points"),
    "gain": ("gain", "points"),
}
"""Figure -> its table and unit; "" is a share. Differences may be negative, so they are in points."""
_SCALES = {"": 1.0, "points": 100.0, "nats": 1.0}
_LOWER_IS_BETTER = ("forgetting",)


class Books:
    """Matrices of several sequences: the contexts of their tables are places in them, and queries the sequences.

    So a table with its steps is the matrix R, step by place. In the tables of figures the contexts are the sequences.
    """

    def __init__(self, bench: Bench, names: Sequence[str], length: int) -> None:
        self._bench, self._names, self._length = bench, names, length
        self._cells: dict[str, dict[tuple[int, int, int], float | None]] = {}
        self._told = ""
        """The first measure that reports log-probabilities: it has their matrix."""

    def enter(self, measure: str, step: int, rows: Mapping[tuple[int, int], Sequence[Score]]) -> Iterator[Measurement]:
        """A step's row of the matrices: ``rows`` has the scores of (sequence, place), places from 0."""
        about = replace(self._bench.measures[measure])
        name = MATRIX if measure == HEADLINE else f"{MATRIX}.{measure}"
        found = {at: _mean([score.value for score in row]) for at, row in rows.items()}
        yield self._row(name, about, step, found)
        # A failed answer has no log-probability; its cell is absent, as one that was not asked.
        told = {at: [score.measures.get(LOGPROB) for score in row] for at, row in rows.items() if found[at] is not None}
        known = {at: [float(v) for v in row if isinstance(v, (int, float))] for at, row in told.items()}
        logprobs = {at: _mean(row) for at, row in known.items() if row and len(row) == len(rows[at])}
        if logprobs and self._told in ("", measure):
            self._told = measure
            nats = replace(about, metric="log-probability of the accepted answer", unit="nats")
            yield self._row(f"{MATRIX}.{LOGPROB}", nats, step, logprobs)

    def _row(
        self, name: str, measure: Measure, step: int, cells: Mapping[tuple[int, int], float | None]
    ) -> Measurement:
        kept = self._cells.setdefault(name, {})
        scores = []
        for (k, j), value in sorted(cells.items(), key=lambda cell: (cell[0][1], cell[0][0])):
            kept[k, step, j] = value
            place = f"edit-{j + 1:02d}"
            query = f"{place}/{self._names[k]}"
            status = "error" if value is None else "ok"
            scores.append(Score(place, query, value, status))  # type: ignore[arg-type]
        return Measurement(name, scores, step, measure)

    def figures(self) -> Iterator[Measurement]:
        """One table per figure of :class:`harness.stats.retention.Figures`, sequence by sequence.

        Of log-probability, where it was measured, it is forgetting alone, in nats.
        """
        nats = {"forgetting": (f"forgetting.{LOGPROB}", "nats")}
        for name, wanted in ((MATRIX, _FIGURES), (f"{MATRIX}.{LOGPROB}", nats)):
            if name in self._cells:
                found = [self._of(name, k) for k in range(len(self._names))]
                for figure, (table, unit) in wanted.items():
                    yield from self._figure(found, figure, table, unit)

    def _figure(
        self, found: Sequence[Mapping[str, float | None] | None], figure: str, table: str, unit: str
    ) -> Iterator[Measurement]:
        scores = []
        for name, mine in zip(self._names, found, strict=True):
            if mine is None:
                scores.append(Score(name, name, None, "error", (), {"reason": "a score of it was lost"}))
            elif (value := mine[figure]) is not None:
                scores.append(Score(name, name, value * _SCALES[unit]))
        if scores:
            about = self._bench.measures[HEADLINE]
            metric = f"{figure}, {about.metric}"
            lower = figure in _LOWER_IS_BETTER
            yield Measurement(table, scores, measure=replace(about, metric=metric, unit=unit, lower_is_better=lower))

    def _of(self, name: str, k: int) -> dict[str, float | None] | None:
        """The figures of one sequence; None where one of its cells is an error of ours."""
        matrix = np.full((self._length + 1, self._length), np.nan)
        for (mine, step, j), value in self._cells[name].items():
            if mine == k:
                if value is None:
                    return None
                matrix[step, j] = value
        return vars(figures(matrix))


def of_sequence(name: str, scores: Sequence[Score]) -> list[Score]:
    """The scores of other items as scores of a sequence: its own context, with a query of its own for each."""
    return [Score(name, f"{name}/{one.query}", one.value, one.status, one.answers, one.measures) for one in scores]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if values and len(known) == len(values) else None
