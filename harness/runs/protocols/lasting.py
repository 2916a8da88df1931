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
_POINTS = 100.0
_FIGURES = {
    "learning": "learning",
    "backward": "bwt",
    "forward": "fwt",
    "forgetting": "forgetting",
    "gain": "gain",
}
"""Figure -> its table. The final accuracy is the last step of the matrix itself."""
_LOWER_IS_BETTER = ("forgetting",)


class Books:
    """Matrices of several sequences: contexts of their tables are sequences, queries the places in them."""

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
        for (k, j), value in sorted(cells.items()):
            kept[k, step, j] = value
            query = f"{self._names[k]}/{j + 1:02d}"
            status = "error" if value is None else "ok"
            scores.append(Score(self._names[k], query, value, status))  # type: ignore[arg-type]
        return Measurement(name, scores, step, measure)

    def figures(self) -> Iterator[Measurement]:
        """One table per figure of :class:`harness.stats.retention.Figures`, sequence by sequence.

        Those of accuracy are in points; the one of log-probability, where it was measured, is forgetting in nats.
        """
        for name, unit, scale, wanted in (
            (MATRIX, "points", _POINTS, _FIGURES),
            (f"{MATRIX}.{LOGPROB}", "nats", 1.0, {"forgetting": f"forgetting.{LOGPROB}"}),
        ):
            if name in self._cells:
                found = {k: self._of(name, k) for k in range(len(self._names))}
                for figure, table in wanted.items():
                    yield from self._figure(found, figure, table, unit, scale)

    def _figure(
        self, found: Mapping[int, dict[str, float | None] | None], figure: str, table: str, unit: str, scale: float
    ) -> Iterator[Measurement]:
        scores = []
        for k, name in enumerate(self._names):
            mine = found[k]
            if mine is None:
                scores.append(Score(name, name, None, "error", (), {"reason": "an update or a score of it was lost"}))
            elif (value := mine[figure]) is not None:
                scores.append(Score(name, name, value * scale))
        if scores:
            about = self._bench.measures[HEADLINE]
            yield Measurement(
                table,
                scores,
                measure=replace(about, metric=figure, unit=unit, lower_is_better=figure in _LOWER_IS_BETTER),
            )

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
