"""Accuracy against synthetic tokens, with its log-linear fit (arXiv 2409.07431, section 4.2 and figure 2).

The paper trains on prefixes of one shuffled corpus and finds accuracy to grow with the logarithm of their tokens. Here
each budget is a row of a run, whose texts are among those of the next larger one (the editor's setting ``share``); the
fit is least squares over the rows, and its intervals resample the contexts with their questions.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.stats import DRAWS, SEED, Interval, interval

Array = NDArray[np.float64]
SHARES = (0.125, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Point:
    """A row: its synthetic tokens, and each context's questions answered right, of how many (over all seeds)."""

    name: str
    tokens: int
    right: Mapping[str, float]
    asked: Mapping[str, float]

    @property
    def score(self) -> float:
        """Share of all questions answered right."""
        return sum(self.right.values()) / sum(self.asked.values())


@dataclass(frozen=True)
class Fit:
    """``score = at_one + per_doubling * log2(tokens)``, as shares of questions."""

    at_one: float
    per_doubling: float
    interval: Interval
    """95% interval of ``per_doubling`` over contexts."""
    explained: float
    """Share of the variance of the rows' scores that the line explains."""
    scores: tuple[Interval, ...]
    """95% intervals of the rows' scores, in order."""


def fit(points: Sequence[Point], draws: int = DRAWS) -> Fit:
    """The log-linear fit to at least three rows of different sizes that answered the same questions.

    Raises:
        UsageError: too few rows, a row without synthetic text, or rows of different questions.
    """
    if len({point.tokens for point in points}) < 3:
        raise UsageError("scaling: a line needs three rows with different numbers of synthetic tokens")
    if any(not point.tokens for point in points):
        raise UsageError("scaling: a row has no synthetic tokens, and 0 has no logarithm; leave it out")
    contexts = sorted(points[0].asked)
    if any(dict(point.asked) != dict(points[0].asked) for point in points):
        raise UsageError("scaling: the rows were not asked the same questions")
    right = np.array([[point.right[name] for name in contexts] for point in points])
    asked = np.array([points[0].asked[name] for name in contexts])
    x = np.log2([point.tokens for point in points])
    x = x - x.mean()

    # [draws, contexts]: how often each context is in a draw.
    times = np.random.default_rng(SEED).multinomial(len(contexts), [1 / len(contexts)] * len(contexts), size=draws)
    drawn = (times @ right.T) / (times @ asked)[:, None]
    slopes = drawn @ x / (x @ x)

    scores = right.sum(axis=1) / asked.sum()
    slope = float(scores @ x / (x @ x))
    left = scores - scores.mean() - slope * x
    spread = float(((scores - scores.mean()) ** 2).sum())
    return Fit(
        at_one=float(scores.mean()) - slope * float(np.mean(np.log2([point.tokens for point in points]))),
        per_doubling=slope,
        interval=interval(slopes),
        explained=1 - float((left**2).sum()) / spread if spread else math.nan,
        scores=tuple(interval(column) for column in drawn.T),
    )


def points_of(folder: Path) -> list[Point]:
    """The rows of a finished run that learnt synthetic texts, smallest first.

    Tokens are words of the texts that were learnt beside the passages, summed over contexts and averaged over seeds;
    another unit would multiply them all, and move only the line's height at one token.

    Raises:
        UsageError: the folder is not that of a run.
    """
    if not (folder / "edits").is_dir() or not (folder / "scores").is_dir():
        raise UsageError(f"{folder}: not the folder of a run with edits and scores")
    words: dict[str, list[int]] = defaultdict(list)
    for path in sorted((folder / "edits").glob("*.jsonl")):
        words[path.stem.rpartition("-")[0]].append(sum(map(_words, _lines(path))))
    found = []
    for name, counts in words.items():
        right: dict[str, float] = defaultdict(float)
        asked: dict[str, float] = defaultdict(float)
        for path in sorted((folder / "scores").glob(f"{name}-*.jsonl")):
            if path.stem.rpartition("-")[0] != name:
                continue
            for line in _lines(path):
                if line["value"] is not None:
                    right[line["episode"]] += line["value"]
                    asked[line["episode"]] += 1
        if sum(counts):
            found.append(Point(name, round(sum(counts) / len(counts)), dict(right), dict(asked)))
    return sorted(found, key=lambda point: point.tokens)


def _words(line: Mapping[str, Any]) -> int:
    """Words of an episode's synthetic texts."""
    recipes = [item for edit in line["edits"] for item in edit["data"] if item.get("name") == "lines"]
    return sum(len(str(recipe["args"]["text"]).split()) for recipe in recipes)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def shown(points: Sequence[Point], line: Fit) -> str:
    """The rows and the fit as lines of text."""
    rows = [
        f"{point.name:<24} {point.tokens:>9,} words   {_percent(point.score, within)}"
        for point, within in zip(points, line.scores, strict=True)
    ]
    said = f"{_percent(line.per_doubling, line.interval)} points for each doubling of the synthetic text"
    return "\n".join([*rows, f"log-linear fit: {said}; the line explains {100 * line.explained:.0f}% of the variance"])


def _percent(value: float, within: Interval) -> str:
    return f"{100 * value:.1f} ({100 * within.low:.1f} to {100 * within.high:.1f})"
